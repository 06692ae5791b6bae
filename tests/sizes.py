"""Refuse files and functions that have grown too long: `python -m tests.sizes`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("rewardlab", "models", "steps", "components", "pipelines", "serving", "benchmarks", "deploy")
FILE_LIMIT, FUNCTION_LIMIT, STUB_LIMIT = 300, 60, 27


def too_long(root: Path = ROOT) -> Iterator[str]:
    """Yield a line for each file over 300 lines and each function over 60 (in components: 27)."""
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(root)
            if (lines := text.count("\n")) > FILE_LIMIT:
                yield f"{name}: {lines} lines, split at {FILE_LIMIT}"
            limit = STUB_LIMIT if room == "components" else FUNCTION_LIMIT
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    length = (node.end_lineno or 0) - node.lineno + 1
                    if length > limit:
                        yield f"{name}:{node.lineno}: {node.name} has {length} lines, split at {limit}"


if __name__ == "__main__":
    found = list(too_long())
    print("\n".join(found) or "sizes: ok")
    sys.exit(bool(found))
