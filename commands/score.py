"""Score files line by line."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypedDict
from uuid import uuid4

from rewardlab import __version__
from rewardlab.bundle import Bundle
from rewardlab.config import canonical_json
from rewardlab.engine import Engine, Scores
from rewardlab.files import atomic_path, file_digest
from rewardlab.groups import Message, messages
from rewardlab.references import resolve
from rewardlab.text import parse_json, utf8
from steps.common.progress import progress

_CHUNK = 256


class Identity(TypedDict, total=False):
    """The id that a line brings, if it brings one."""

    id: object


class AspectRewards(TypedDict, total=False):
    """The rewards by aspect, where the model has aspects."""

    aspects: dict[str, list[float]]


class ScoredLine(Identity, AspectRewards):
    """What is written for a line whose responses have their rewards."""

    rewards: list[float]
    truncated: list[bool]
    model: str


class FailedLine(Identity):
    """What is written for a line that cannot be scored."""

    rewards: None
    error: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a line asks for."""

    identity: Identity
    prompt: tuple[Message, ...]
    responses: tuple[str, ...]


class Part:
    """A file beside the finished one: a first line that says what of, then the lines that are done.

    They are written as they are made, so that work which was cut off goes on where it stopped.

    Args:
        path: the file; what is in it counts only if it is of the same.
        facts: what decides the lines: input, model, options.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self._path = path
        self._head = canonical_json(facts).encode() + b"\n"
        self.num_done = self._length = 0
        if path.is_file():
            with path.open("rb") as file:
                if file.readline() == self._head:
                    whole = [len(line) for line in file if line.endswith(b"\n")]
                    self.num_done, self._length = len(whole), len(self._head) + sum(whole)

    def __enter__(self) -> Self:
        """Open the file behind its last whole line, or anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("r+b" if self._length else "wb")
        self._file.truncate(self._length)
        self._file.seek(self._length)
        if not self._length:
            self._file.write(self._head)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and keep it."""
        self._file.close()

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write lines where a crash of this process cannot lose them."""
        self._file.write(b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines))
        self._file.flush()

    def discard(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def finish(self, target: Path) -> int:
        """Make the finished file of the lines, whole or not at all; return how many tell of an error."""
        bad = 0
        with self._path.open("rb") as lines, atomic_path(target) as scratch, scratch.open("wb") as out:
            lines.readline()
            for line in lines:
                bad += json.loads(line)["rewards"] is None
                out.write(line)
        self.discard()
        return bad


def score_file(source: Path, target: Path, *, model: str, parse: str | None, name: str) -> int:
    """Score each line of `source` into the same line of `target`; return how many lines could not be scored.

    What is done lies in `target`.part until all is: a run that was cut off goes on where it stopped, if input, model
    and format are the same.

    Raises:
        ValueError: there is no such file or model, or the file is damaged; then `target` is left as it was.
    """
    if not source.exists() or source.is_dir():
        raise ValueError(f"there is no file {source}")
    engine = Engine(Bundle.open(*resolve(model, name=name)))
    engine.check_golden()
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


def _lines(source: Path) -> Iterator[bytes]:
    """Yield a file's lines as bytes, so that one that is not UTF-8 is one bad line."""
    try:
        with source.open("rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(file) if zipped else nullcontext(file) as lines:
                yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{source} is cut short or damaged ({error}): fetch it again") from error


def _request(line: bytes, parse: str | None) -> Request | FailedLine:
    """Return what a line asks for, or the answer that says why it cannot be scored."""
    identity: Identity = {}
    try:
        row = parse_json(line.decode().removeprefix("\ufeff"))
        if not isinstance(row, dict):
            raise ValueError(f"a line is an object {{id?, prompt, responses}}, got {row!r:.80}")
        identity = {"id": row["id"]} if "id" in row else {}
        return Request(identity, *_texts(row, parse))
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error}" if line.strip() else "the line is blank"
    except RecursionError:
        reason = "not JSON that can be read: it is nested too deep"
    except ValueError as error:
        reason = str(error)
    return {**identity, "rewards": None, "error": reason}


def _texts(row: Mapping[str, object], parse: str | None) -> tuple[tuple[Message, ...], tuple[str, ...]]:
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


def _answers(engine: Engine, requests: Sequence[Request | FailedLine]) -> Iterator[ScoredLine | FailedLine]:
    """Yield an answer for each request; one that fails takes no other with it."""
    good = [request for request in requests if isinstance(request, Request)]
    try:
        scored = iter(engine.score_many([(request.prompt, request.responses) for request in good]))
    except (ValueError, ArithmeticError) as error:
        if len(requests) == 1:
            yield {**good[0].identity, "rewards": None, "error": str(error)}
        else:
            for request in requests:
                yield from _answers(engine, [request])
        return
    for request in requests:
        if isinstance(request, Request):
            scores = next(scored)
            yield {
                **request.identity,
                "rewards": list(scores.rewards),
                "truncated": list(scores.truncated),
                **_aspects(scores),
                "model": engine.bundle.label,
            }
        else:
            yield request


def _aspects(scores: Scores) -> AspectRewards:
    if not scores.aspects:
        return {}
    return {"aspects": {aspect: list(rewards) for aspect, rewards in scores.aspects.items()}}
