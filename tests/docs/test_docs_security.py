"""The page about threats: each control names a test, and each named test exists."""

import ast
import re

from tests.pages import DOCS

TESTS = DOCS.parent / "tests"
PAGE = (DOCS / "security.md").read_text(encoding="utf-8")


def test_every_control_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"`test_\w+\.py::test_\w+`", row)] == []


def test_every_named_test_exists() -> None:
    missing = []
    for file, name in re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE):
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob(file)]
        functions = [
            node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        if name not in {node.name for node in functions}:
            missing.append(f"{file}::{name}")
    assert missing == []
