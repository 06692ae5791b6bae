"""What a local run made or reused, by its log: kfp's runner keeps no other record of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardlab.files import read_json
from rewardlab.home import home
from rewardlab.layout import LOG, report_paths

_REUSED = re.compile(r"Task [\w-]+ cache hit \(key=(?P<key>[0-9a-f]+)\)")


def artifacts(run_folder: Path) -> Iterator[Path]:
    """Yield the artifacts that the steps of a run read, made or took from the cache, some more than once."""
    log = run_folder / LOG
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
    reports = {}
    for path in artifacts(run_folder):
        for name, file in report_paths({path.name: path}).items():
            if file.is_file():
                reports[name] = read_json(file)
    return reports
