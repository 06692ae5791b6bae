"""One entry of the promotion log: what an alias is to name, by which report, and which entry it follows."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from rewardlab.config import Config, canonical_json

Action = Literal["promote", "rollback"]
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry(Config):
    """An attempt to change what an alias names.

    `follows` is the digest of the entry that the writer took to be the alias's newest ("" for none). `report` is the
    digest of the gate's report, which lies with the MLflow run `run`; a rollback names those of the promotion that it
    restores. `signed` names the people who signed it off, each with the time; `at` is when it was written, `by` whom.
    """

    alias: str
    action: Action
    version: str
    bundle: str
    test_digest: str
    report: str
    run: str
    follows: str
    signed: tuple[str, ...] = ()
    by: str
    at: str

    def __post_init__(self) -> None:
        empty = [name for name in ("alias", "bundle", "test_digest", "run", "by", "at") if not getattr(self, name)]
        if empty:
            raise ValueError(f"an entry of the promotion log needs {', '.join(empty)}")
        if not re.fullmatch(r"[1-9][0-9]*", self.version):
            raise ValueError(f"an entry names a version by its number, got {self.version!r}")
        if not _DIGEST.fullmatch(self.report):
            raise ValueError(f"an entry names its report by its sha256, got {self.report!r}")
        if self.follows and not _DIGEST.fullmatch(self.follows):
            raise ValueError(f"an entry follows another by its sha256, got {self.follows!r}")

    @property
    def digest(self) -> str:
        """Return what names this entry; the chain of them cannot be changed without a trace."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an entry's one text.

        Raises:
            ValueError: it is no entry, or is written otherwise than `to_json` writes it.
        """
        entry = cls.from_json(text)
        if entry.to_json() != text:
            raise ValueError("it is not written in the one way that entries are")
        return entry


def report_digest(report: Mapping[str, Any]) -> str:
    """Return the digest that names a gate's report by its content, however the file is laid out.

    Example:
        >>> report_digest({"verdict": "pass"})[:12]
        'f5d6f98b22d3'
    """
    return hashlib.sha256(canonical_json(report).encode()).hexdigest()
