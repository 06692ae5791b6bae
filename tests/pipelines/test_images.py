"""Images, as far as no engine is needed: what goes into them, what they are called, and their bill of materials."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipelines.ir import GOLDEN, ir_in, read_ir
from pipelines.local import images
from rewardlab.config import canonical_json
from tests.paths import ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n((?:(?!^FROM).*\n)*)", CONTAINERFILE, re.MULTILINE))
PIN = re.compile(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", re.MULTILINE)
IMAGE_LOCKS = ["requirements/train.lock", "requirements/serve.lock", "requirements/serve-gpu.lock"]


def pins(name: str) -> dict[str, str]:
    """Return the versions that a lock pins; each has hashes."""
    text = (ROOT / name).read_text()
    found = {match[1]: match[2] for match in PIN.finditer(text)}
    assert len(found) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)), f"{name}: a package without a hash"
    return found


@pytest.mark.parametrize("name", IMAGE_LOCKS)
def test_images_have_the_versions_that_are_tested(name: str) -> None:
    tested, found = pins("requirements/dev.lock"), pins(name)
    own = {each for each in found if each.startswith(("nvidia-", "onnxruntime-gpu"))}
    assert {each: found[each] for each in found.keys() - own} == {each: tested[each] for each in found.keys() - own}
    assert own == set() or name == "requirements/serve-gpu.lock"


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements/train.lock", ["data", "train", "export", "pipelines", "sign"]),
        ("requirements/serve.lock", ["serve"]),
        ("requirements/serve-gpu.lock", ["serve-gpu"]),
    ],
)
def test_images_have_all_that_their_rooms_ask_for(name: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    names = {re.split(r"[\[<>=~! ]", each)[0].lower() for each in asked} - {"torch"}  # which has locks of its own
    assert names - pins(name).keys() == set(), "run `make lock`"


def test_the_server_has_neither_torch_nor_transformers_and_one_onnxruntime() -> None:
    serve, gpu = pins("requirements/serve.lock"), pins("requirements/serve-gpu.lock")
    assert not {"torch", "transformers", "mlflow", "kfp", "pandas", "pytest"} & (serve.keys() | gpu.keys())
    assert ("onnxruntime" in serve, "onnxruntime" in gpu, "onnxruntime-gpu" in gpu) == (True, False, True)


def test_torch_is_pinned_by_hash_for_both_kinds_of_machine() -> None:
    assert pins("requirements/torch-cpu.lock")["torch"].startswith("2.13.0")
    assert pins("requirements/torch-cuda.lock")["torch"] == "2.13.0"


def test_every_image_runs_as_nobody_and_is_copied_without_what_built_it() -> None:
    for target in images.REPOSITORIES:
        stage = STAGES[target] if "USER" in STAGES[target] else STAGES["serve-base"]
        assert "USER 10001:10001" in stage
        assert "pip " not in STAGES[target]
    assert CONTAINERFILE.count("pip install") == CONTAINERFILE.count("--require-hashes") == 2
    assert CONTAINERFILE.count("venv --without-pip /opt/rewardlab") == CONTAINERFILE.count("pip uninstall") == 1
    assert ":latest" not in CONTAINERFILE


def test_what_is_copied_is_in_the_context_and_in_the_tag() -> None:
    allowed = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    rooms = set(re.findall(r"^COPY ([a-z]+) /opt", CONTAINERFILE, re.MULTILINE))
    locks = {f"requirements/{name}" for name in re.findall(r"(?<=/locks/)[\w-]+\.lock", CONTAINERFILE)}
    assert rooms == {"rewardlab", "models", "synthetic", "steps", "components", "pipelines", "commands", "serving"}
    assert rooms <= allowed
    assert locks >= {"requirements/serve.lock", "requirements/train.lock", "requirements/backbones.lock"}
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"
    sources = {file.relative_to(ROOT) for file in images._sources()}
    assert rooms <= {file.parts[0] for file in sources}
    assert locks <= {file.as_posix() for file in sources}


@pytest.mark.parametrize(
    ("file", "changes"), [("serving/app.py", True), ("requirements/serve.lock", True), ("README.md", False)]
)
def test_the_tag_changes_with_what_is_in_the_images(
    file: str, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in images._sources():
        copy = tmp_path / each.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(each, copy)
    before = images.tag()
    monkeypatch.setattr(images, "ROOT", tmp_path)
    assert images.tag() == before
    with (tmp_path / file).open("a") as out:
        out.write("#\n")
    assert (images.tag() != before) is changes
    assert re.fullmatch(r"\d+\.\d+\.\d+-[0-9a-f]{12}", before)


def test_only_the_image_of_the_ir_is_substituted(tmp_path: Path) -> None:
    (tmp_path / "ir.yaml").write_text(ir_in("rewardlab-python:0.1.0-abc"))
    assert read_ir(tmp_path / "ir.yaml") == read_ir(GOLDEN)
    [document] = yaml.safe_load_all((tmp_path / "ir.yaml").read_text())
    executors = document["deploymentSpec"]["executors"].values()
    assert {each["container"]["image"] for each in executors} == {"rewardlab-python:0.1.0-abc"}


@pytest.mark.slow
@pytest.mark.parametrize("target", images.REPOSITORIES)
def test_the_bill_of_materials_is_valid_and_names_every_package(target: str) -> None:
    locks = images._locks(target, "cpu")
    bill = images.materials("rewardlab-serve:1", locks, debian="libc6 2.36-9+deb12u10\nbase-files 12.4+deb12u11\n")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(canonical_json(bill)) is None
    found = {each["name"]: each["version"] for each in bill["components"]}
    wanted = {name: version for lock in locks for name, version in pins(f"requirements/{lock.name}").items()}
    assert found == wanted | {"libc6": "2.36-9+deb12u10", "base-files": "12.4+deb12u11"}
    assert "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10" in {each["purl"] for each in bill["components"]}
    assert bill["metadata"]["component"]["version"] == "1"


def test_an_engine_is_whichever_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(name: str, *, answers: bool) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {int(not answers)}\n")
        (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="none of docker, podman, buildah is here"):
        images.engine()
    found = []
    for name, answers in (("buildah", True), ("docker", False), ("podman", True), ("docker", True)):
        put(name, answers=answers)
        found.append(images.engine())
    assert found == ["buildah", "buildah", "podman", "docker"]


def test_the_deployment_runs_this_image_as_nobody_and_asks_for_health_where_it_is() -> None:
    deployment = yaml.safe_load((ROOT / "deploy" / "base" / "scorer" / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"].partition(":")[0] == images.REPOSITORIES["serve"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    probes = {name: each["httpGet"]["path"] for name, each in container.items() if name.endswith("Probe")}
    live, ready = "/health/live", "/health/ready"
    assert probes == {"startupProbe": live, "readinessProbe": ready, "livenessProbe": live}
