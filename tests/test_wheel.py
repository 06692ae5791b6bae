"""The published library: what it holds, and its use beside a foreign `models`."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import rewardlab as library

ROOT = Path(__file__).resolve().parent.parent
USE = """
import sys
import models, rewardlab

scorer = rewardlab.load(sys.argv[1])
print(rewardlab.__file__, models.OWNER, *scorer.score("What is 2 + 2?", ["It is 4."]))
ours = {"steps", "components", "pipelines", "serving", "torch", "transformers", "mlflow", "kfp"} & set(sys.modules)
assert not ours, ours
"""


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


def project(path: Path) -> Any:
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def test_it_holds_the_room_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    room = [path for path in (ROOT / "rewardlab").rglob("*") if path.suffix in (".py", ".json", ".typed")]
    assert names == {path.relative_to(ROOT).as_posix() for path in room}
    assert {"rewardlab/py.typed", "rewardlab/schemas/score_output.schema.json"} <= names


def test_its_metadata_are_those_of_the_ground(wheel: Path) -> None:
    name = f"rewardlab-{library.__version__}.dist-info/METADATA"
    metadata = Parser().parsestr(zipfile.ZipFile(wheel).read(name).decode())
    needed = metadata.get_all("Requires-Dist") or []
    assert (metadata["Name"], metadata["Version"]) == ("rewardlab", library.__version__)
    assert sorted(line.split(">")[0].split("<")[0] for line in needed if "extra" not in line) == [
        "httpx",
        "jinja2",
        "numpy",
        "tokenizers",
    ]
    assert [line for line in needed if "engine" in line] == ['onnxruntime>=1.31; extra == "engine"']


def test_both_builds_agree() -> None:
    application, published = project(ROOT / "pyproject.toml"), project(ROOT / "rewardlab" / "pyproject.toml")
    assert application["version"] == library.__version__
    assert application["dependencies"] == published["dependencies"]
    extras = application["optional-dependencies"]
    assert set(published["optional-dependencies"]["engine"]) <= set(extras["serve"])
    assert set(published["optional-dependencies"]["registry"]) <= set(extras["train"])


def test_it_works_beside_a_foreign_models_folder(wheel: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "mine" / "models").mkdir(parents=True)
    (tmp_path / "mine" / "models" / "__init__.py").write_text("OWNER = 'somebody'\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE, str(tiny_bundle)],
        cwd=tmp_path / "mine",
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, owner, reward = done.stdout.split()
    assert (file, owner) == (str(tmp_path / "site" / "rewardlab" / "__init__.py"), "somebody")
    assert [float(reward)] == list(library.load(str(tiny_bundle)).score("What is 2 + 2?", ["It is 4."]))
