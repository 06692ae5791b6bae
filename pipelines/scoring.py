"""Score files line by line, and hand a model to the server."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import atomic_path, open_text
from rewardlab.groups import Message, messages
from rewardlab.references import resolve
from steps.progress import progress

_CHUNK = 256
Request = tuple[Any, tuple[Message, ...], tuple[str, ...]]


def score_file(source: Path, target: Path, *, model: str, parse: str | None, name: str) -> int:
    """Score each line of `source` into the same line of `target`; return how many lines could not be scored."""
    if not source.is_file():
        raise ValueError(f"there is no file {source}")
    engine = open_engine(model, name=name)
    bad = 0
    with (
        open_text(source) as lines,
        atomic_path(target) as scratch,
        scratch.open("w", encoding="utf-8") as out,
        progress(0, f"score with {engine.bundle.label}", unit="lines") as bar,
    ):
        while chunk := list(islice(lines, _CHUNK)):
            for answer in _answers(engine, [_request(line, parse) for line in chunk]):
                bad += answer["rewards"] is None
                out.write(json.dumps(answer, ensure_ascii=False) + "\n")
                bar.update()
    return bad


def open_engine(model: str, *, name: str) -> Engine:
    """Return the engine of a reference, its golden scores checked."""
    folder, label = resolve(model, name=name)
    engine = Engine(Bundle.open(folder, label))
    engine.check_golden()
    return engine


def serve_reference(model: str, *, host: str, port: int, name: str) -> None:
    """Replace this process by the server."""
    folder, label = resolve(model, name=name)
    command = [sys.executable, "-m", "serving", "--bundle", str(folder), "--host", host, "--port", str(port)]
    if label:
        registered, _, version = label.rpartition("/")
        command += ["--name", registered, "--version", version]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 (no shell is wanted)


def _request(line: str, parse: str | None) -> Request | dict[str, Any]:
    """Return what a line asks for, or the answer that says why it cannot be scored."""
    identity: dict[str, Any] = {}
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"a line is an object {{id?, prompt, responses}}, got {line.strip()[:60]!r}")
        identity = {"id": row["id"]} if "id" in row else {}
        return identity, _prompt(row, parse), _responses(row)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error}" if line.strip() else "the line is blank"
    except ValueError as error:
        reason = str(error)
    return {**identity, "rewards": None, "error": reason}


def _prompt(row: dict[str, Any], parse: str | None) -> tuple[Message, ...]:
    if "prompt" not in row:
        raise ValueError(f"the line has no prompt; it has {', '.join(row) or 'nothing'}")
    if parse is None:
        return messages(row["prompt"])
    from rewardlab.readers import reader

    return reader(parse).group(row).prompt


def _responses(row: dict[str, Any]) -> tuple[str, ...]:
    responses = row.get("responses")
    if not isinstance(responses, list) or not responses or not all(isinstance(text, str) for text in responses):
        raise ValueError(f"responses is a list of at least one string, got {responses!r:.80}")
    return tuple(responses)


def _answers(engine: Engine, requests: Sequence[Request | dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield an answer for each request; one that fails takes no other with it."""
    good = [request for request in requests if isinstance(request, tuple)]
    try:
        scored = iter(engine.score_many([(prompt, responses) for _, prompt, responses in good]))
    except (ValueError, ArithmeticError) as error:
        if len(requests) == 1:
            yield {**good[0][0], "rewards": None, "error": str(error)}
        else:
            for request in requests:
                yield from _answers(engine, [request])
        return
    for request in requests:
        if isinstance(request, dict):
            yield request
        else:
            scores = next(scored)
            yield {
                **request[0],
                "rewards": list(scores.rewards),
                "truncated": list(scores.truncated),
                "model": engine.bundle.label,
            }
