"""Score files line by line."""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from commands.resumable_file import Part
from rewardlab import __version__
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import file_digest
from rewardlab.groups import Message, messages
from rewardlab.references import resolve
from rewardlab.text import parse_json, utf8
from steps.common.progress import progress

_CHUNK = 256
Request = tuple[Any, tuple[Message, ...], tuple[str, ...]]


def score_file(source: Path, target: Path, *, model: str, parse: str | None, name: str) -> int:
    """Score each line of `source` into the same line of `target`; return how many lines could not be scored.

    What is done lies in `target`.part until all is: a run that was cut off goes on where it stopped, if input, model
    and format are the same.

    Raises:
        ValueError: there is no such file or model, or the file is damaged; then `target` is left as it was.
    """
    if not source.exists() or source.is_dir():
        raise ValueError(f"there is no file {source}")
    engine = open_engine(model, name=name)
    label = engine.bundle.label
    # what comes through a pipe is read once: then nothing can be told of it, and nothing is gone on with
    of = file_digest(source) if source.is_file() else uuid4().hex
    facts = {"in": of, "model": engine.bundle.digest, "label": label, "parse": parse, "version": __version__}
    part = Part(target.with_name(f"{target.name}.part"), facts)
    try:
        with part, progress(0, f"score with {label}", unit="lines") as bar:
            bar.update(part.num_done)
            lines = islice(_lines(source), part.num_done, None)
            while chunk := list(islice(lines, _CHUNK)):
                part.write(list(_answers(engine, [_request(line, parse) for line in chunk])))
                bar.update(len(chunk))
    except ValueError:
        part.discard()  # the input is damaged: when it has been fetched again it is another
        raise
    return part.finish(target)


def open_engine(model: str, *, name: str) -> Engine:
    """Return the engine of a reference, its golden scores checked."""
    folder, label = resolve(model, name=name)
    engine = Engine(Bundle.open(folder, label))
    engine.check_golden()
    return engine


def _lines(source: Path) -> Iterator[bytes]:
    """Yield a file's lines as bytes, so that one that is not UTF-8 is one bad line."""
    try:
        with source.open("rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(file) if zipped else nullcontext(file) as lines:
                yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{source} is cut short or damaged ({error}): fetch it again") from error


def _request(line: bytes, parse: str | None) -> Request | dict[str, Any]:
    """Return what a line asks for, or the answer that says why it cannot be scored."""
    identity: dict[str, Any] = {}
    try:
        row = parse_json(line.decode().removeprefix("\ufeff"))
        if not isinstance(row, dict):
            raise ValueError(f"a line is an object {{id?, prompt, responses}}, got {row!r:.80}")
        identity = {"id": row["id"]} if "id" in row else {}
        return identity, *_texts(row, parse)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error}" if line.strip() else "the line is blank"
    except RecursionError:
        reason = "not JSON that can be read: it is nested too deep"
    except ValueError as error:
        reason = str(error)
    return {**identity, "rewards": None, "error": reason}


def _texts(row: dict[str, Any], parse: str | None) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Return prompt and responses of a row: as they are, or as the reader of a format takes them."""
    if parse is None:
        if "prompt" not in row:
            raise ValueError(f"the line has no prompt; it has {', '.join(row) or 'nothing'}")
        prompt, responses = messages(row["prompt"]), _responses(row.get("responses"))
    else:
        from rewardlab.readers import reader

        group = reader(parse).group(row)
        prompt, responses = group.prompt, group.responses
    for text in (*(turn.content for turn in prompt), *responses):
        utf8("text", text)
    return prompt, responses


def _responses(responses: Any) -> tuple[str, ...]:
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
                **({"aspects": {name: list(each) for name, each in scores.aspects.items()}} if scores.aspects else {}),
                "model": engine.bundle.label,
            }
