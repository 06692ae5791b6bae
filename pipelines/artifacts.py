"""What a local run made or reused, by its log: kfp's runner keeps no other record of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardlab.files import read_json
from rewardlab.home import home

_REUSED = re.compile(r"Task [\w-]+ cache hit \(key=(?P<key>[0-9a-f]+)\)")
_EVIDENCE = {
    ("validate", "accepted"): ("validation", "validation.json"),
    ("split", "splits"): ("split", "split.json"),
    ("train", "model"): ("training", "training.json"),
    ("export", "parity"): ("export", ""),
    ("evaluate", "evaluation"): ("evaluation", ""),
    ("audit", "findings"): ("audit", ""),
    ("gate", "decision"): ("gate", ""),
}
"""Of which step's artifact which report is part, and where in it."""


def artifacts(run_folder: Path) -> Iterator[Path]:
    """Yield the artifacts that the steps of a run read, made or took from the cache, some more than once."""
    log = run_folder / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    for found in re.finditer(rf"{re.escape(str(home() / 'steps'))}/[^\s'\"]+", text):
        yield Path(found[0])
    for hit in _REUSED.finditer(text):
        for entry in (home() / "cache").glob(f"{hit['key']}*.json"):
            yield from outputs(entry)


def outputs(entry: Path) -> Iterator[Path]:
    """Yield the artifacts that an entry of kfp's cache names."""
    values = json.loads(entry.read_text(encoding="utf-8")).values()
    yield from (Path(value["uri"]) for value in values if isinstance(value, dict) and "uri" in value)


def evidence(run_folder: Path) -> dict[str, Any]:
    """Return the reports that the steps of a run have written, by name."""
    found = {}
    for path in artifacts(run_folder):
        name, inside = _EVIDENCE.get((path.parent.name, path.name), ("", ""))
        file = path / inside if inside else path
        if name and file.is_file():
            found[name] = read_json(file)
    return found
