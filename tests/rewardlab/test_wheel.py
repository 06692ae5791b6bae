"""The published library: what it holds, and its use with what it declares alone, beside a foreign `models`."""

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import rewardlab as library
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from tests.served import build_app, running

ROOT = Path(__file__).parents[2]
USE = """
import sys
import models, rewardlab
from rewardlab import metrics

bundle, url, pairs = sys.argv[1:]
engine = rewardlab.load(bundle)
groups = rewardlab.read(pairs)
rewards = [scores.rewards for scores in engine.score_many([(group.prompt, group.responses) for group in groups])]
asked = dict(prompts=["What is 2 + 2?"] * 2, completions=["It is 4.", "It is 5."])
with rewardlab.RemoteReward(url) as remote:
    assert max(abs(a - b) for a, b in zip(rewardlab.reward_function(engine)(**asked), remote(**asked))) < 1e-5
assert 0 < engine.compare("What is 2 + 2?", "It is 4.", "It is 5.") < 1
assert metrics.accuracy(metrics.labelled_pairs(groups, rewards)).num == len(groups) == 1
print(rewardlab.__file__, models.OWNER, *engine.score("What is 2 + 2?", ["It is 4."]))
rooms = {"synthetic", "steps", "components", "pipelines", "commands", "serving"}
ours = {*rooms, "torch", "transformers", "mlflow", "kfp"} & set(sys.modules)
assert not ours, ours
"""
TYPED = """
import rewardlab
from rewardlab import metrics

engine = rewardlab.load("bundle")
reveal_type(engine.score("a", ["b"]).rewards)
reveal_type(engine.compare("a", "b", "c"))
reveal_type(rewardlab.read("pairs.jsonl"))
reveal_type(rewardlab.RemoteReward("http://a").score("a", ["b"]))
reveal_type(rewardlab.reward_function(engine)(["a"], ["b"]))
reveal_type(metrics.wilson(0.5, 10))
"""
TYPES = """tuple[float, ...]
float
list[rewardlab.groups.PreferenceGroup]
list[float]
list[float]
tuple[float, float]"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that `make wheel` builds."""
    folder = tmp_path_factory.mktemp("wheel")
    places = [f"STAGE={folder / 'stage'}", f"DIST={folder / 'dist'}", f"BIN={Path(sys.executable).parent}"]
    command = ["make", "--old-file=.venv/.installed", "wheel", *places]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "dist").iterdir()
    return made


def metadata(wheel: Path) -> Message:
    name = f"rewardlab-{library.__version__}.dist-info/METADATA"
    return Parser().parsestr(zipfile.ZipFile(wheel).read(name).decode())


def project(path: Path) -> Any:
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def test_it_holds_the_room_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    room = [path for path in (ROOT / "rewardlab").rglob("*") if path.suffix in (".py", ".json", ".typed")]
    assert names == {path.relative_to(ROOT).as_posix() for path in room}
    assert {"rewardlab/py.typed", "rewardlab/schemas/score_output.schema.json"} <= names


def test_its_metadata_are_those_of_the_ground(wheel: Path) -> None:
    found = metadata(wheel)
    declared = found.get_all("Requires-Dist") or []
    assert (found["Name"], found["Version"]) == ("rewardlab", library.__version__)
    assert sorted(Requirement(line).name for line in declared if "extra" not in line) == [
        "httpx",
        "jinja2",
        "numpy",
        "tokenizers",
    ]
    assert [line for line in declared if "engine" in line] == ['onnxruntime>=1.31; extra == "engine"']


def test_both_builds_agree() -> None:
    application, published = project(ROOT / "pyproject.toml"), project(ROOT / "rewardlab" / "pyproject.toml")
    assert application["version"] == library.__version__
    assert application["dependencies"] == published["dependencies"]
    extras = application["optional-dependencies"]
    assert set(published["optional-dependencies"]["engine"]) <= set(extras["serve"])
    assert set(published["optional-dependencies"]["registry"]) <= set(extras["train"])


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a fresh environment that has the wheel, what it and its extra `engine` declare, and no more.

    The wheel is installed by pip; its dependencies are linked from here, so that no network is needed.
    """
    place = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    pip = [sys.executable, "-m", "pip", "--python", place, "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    (site,) = place.glob("lib/*/site-packages")
    for name in needed(metadata(wheel).get_all("Requires-Dist") or [], "engine"):
        for top in {file.parts[0] for file in distribution(name).files or () if file.parts[0] != ".."}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution(name).locate_file(top))
    checked = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    return place / "bin" / "python"


def needed(requirements: list[str], extra: str = "") -> Iterator[str]:
    """Yield the names of distributions that requirements ask for, and those that these ask for."""
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement.name
            yield from needed(distribution(requirement.name).requires or [])


@pytest.mark.slow
def test_it_works_with_what_it_declares_beside_a_foreign_models_folder(
    clean: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("OWNER = 'somebody'\n")
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    (tmp_path / "use.py").write_text(USE)
    with running(build_app(Engine(Bundle.open(tiny_bundle)), name="reward-model", version="1")) as url:
        use = [clean, "-W", "error", "use.py", tiny_bundle, url, "pairs.jsonl"]
        done = subprocess.run(use, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, owner, reward = done.stdout.split()
    assert Path(file).is_relative_to(clean.parent.parent)
    assert owner == "somebody"
    assert [float(reward)] == list(library.load(str(tiny_bundle)).score("What is 2 + 2?", ["It is 4."]))


@pytest.mark.slow
def test_a_type_checker_sees_its_types(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(TYPED)
    check = ["mypy", "--strict", "--no-incremental", "--python-executable", clean, "use.py"]
    done = subprocess.run([sys.executable, "-m", *check], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert [line.split('"')[1] for line in done.stdout.splitlines() if "Revealed" in line] == TYPES.splitlines()
