"""The name of a file that two modules know is written in `rewardlab.layout` alone."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.code_digest import ROOT
from pipelines.ir import GOLDEN, read_ir
from rewardlab import layout

ROOMS = ("rewardlab", "models", "synthetic", "steps", "components", "pipelines", "commands", "serving")
LAYOUT = "rewardlab/layout.py"
NAME = re.compile(r"(?:\S*/)?([\w{}-]+\.(?:jsonl\.gz|jsonl|json|jinja|npy|npz|safetensors|onnx|html|md|txt))")


def file_names(text: str) -> Iterator[str]:
    """Yield the names of files that string constants spell, whole or at the end of a path; docstrings do not count."""
    tree = ast.parse(text)
    spoken = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            match = NAME.fullmatch(node.value)
            if match:
                yield match[1]


def spelled_twice(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the file names that more than one module spells, with the modules."""
    named = {value for value in vars(layout).values() if isinstance(value, str) and NAME.fullmatch(value)}
    modules: dict[str, set[str]] = defaultdict(set, {name: {LAYOUT} for name in named})
    for module, text in texts.items():
        for name in file_names(text):
            modules[name].add(module)
    return {name: sorted(where) for name, where in modules.items() if len(where) > 1}


def sources() -> dict[str, str]:
    """Return the text of each module by its path."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_no_file_name_is_spelled_in_two_modules() -> None:
    twice = spelled_twice(sources())
    assert twice.pop("state.json") == [
        "steps/common/data_files.py",
        "steps/train/state.py",
    ]  # a data set's, and a checkpoint's
    assert twice == {}


def test_a_second_spelling_is_seen() -> None:
    new = 'def read(folder):\n    """Read `log.txt`."""\n    return folder / "test.jsonl.gz", f"{folder}/split.json"\n'
    old = 'NAME = "new.json"'
    assert spelled_twice({"steps/new.py": new, "steps/old.py": old, "steps/older.py": old}) == {
        "split.json": [LAYOUT, "steps/new.py"],
        "test.jsonl.gz": [LAYOUT, "steps/new.py"],
        "new.json": ["steps/old.py", "steps/older.py"],
    }


def test_parts_of_the_split_are_named_by_one_rule() -> None:
    text = Path(layout.__file__).read_text(encoding="utf-8")
    elsewhere = [module for module, source in sources().items() if '}.jsonl.gz"' in source and source != text]
    assert elsewhere == ["synthetic/make.py"]  # shards of a data set, which are no parts


def test_every_report_is_of_an_artifact_of_the_pipeline() -> None:
    parts = read_ir(GOLDEN)[0]["components"].values()
    artifacts = {name for part in parts for name in part.get("outputDefinitions", {}).get("artifacts", {})}
    assert {artifact for artifact, _ in layout.REPORTS.values()} <= artifacts
