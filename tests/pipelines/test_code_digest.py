"""The digest of a step's code changes with what the step runs, and with nothing else."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import code_digest
from pipelines.code_digest import source_digest


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a copy of the rooms, the locks and the project file, of which digests are made."""
    for room in ("rewardlab", "models", "synthetic", "steps"):
        shutil.copytree(code_digest.ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(code_digest.ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(code_digest.ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    code_digest._imports.cache_clear()
    yield tmp_path
    code_digest._imports.cache_clear()


def edit(file: Path, old: str, new: str) -> None:
    text, count = re.subn(old, new, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count, f"{file} has no {old}"
    file.write_text(text, encoding="utf-8")
    code_digest._imports.cache_clear()


def test_it_sees_what_a_step_imports(checkout: Path) -> None:
    names = ("steps.tokenize", "steps.gate")
    before = [source_digest(name) for name in names]
    edit(checkout / "rewardlab" / "chat.py", r"\Z", "# changed\n")
    after = [source_digest(name) for name in names]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]


@pytest.mark.parametrize(
    ("lock", "package"),
    [("torch-cpu.lock", "torch"), ("torch-cuda.lock", "torch"), ("train.lock", "transformers")],
)
def test_it_sees_another_version_of_a_package(lock: str, package: str, checkout: Path) -> None:
    before = source_digest("steps.train")
    edit(checkout / "requirements" / lock, rf"^{package}==\S+", f"{package}==99.0")
    assert source_digest("steps.train") != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pyproject.toml", r"^line-length = \d+", "line-length = 99"),
        ("pyproject.toml", r"\Z", "[tool.new]\nrule = true\n"),
        ("requirements/dev.lock", r"^pytest==\S+", "pytest==99.0"),
        ("requirements/train.lock", r"^    --hash=sha256:\w+", "    --hash=sha256:0"),
    ],
)
def test_it_leaves_out_tools_and_how_packages_are_written_down(file: str, old: str, new: str, checkout: Path) -> None:
    before = source_digest("steps.train")
    edit(checkout / file, old, new)
    assert source_digest("steps.train") == before


def test_the_packages_that_tests_need_are_in_no_lock_that_counts() -> None:
    pinned = {
        line.partition("==")[0]
        for name in code_digest._LOCKS
        for line in (code_digest.ROOT / name).read_text().split("\n")
    }
    assert "torch" in pinned
    assert not pinned & {"pytest", "ruff", "mypy", "hypothesis", "mkdocs"}
