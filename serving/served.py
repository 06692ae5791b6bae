"""A model in service: an engine, its tokenizers, and the name that every reply carries."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from rewardlab.bundle import TOKENIZER, Bundle
from rewardlab.engine import Engine
from rewardlab.groups import Message
from rewardlab.tokens import TokenTree, TreeTokenizer

TOKENIZING_THREADS = 2
"""Tokenizing takes 1-2 % of a model's time; a second thread is for others while one reads a very long text."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """An engine and its label; tokenizers cannot be shared by threads, so that each in work has one of its own."""

    engine: Engine
    name: str
    version: str
    _tokenizers: "SimpleQueue[TreeTokenizer]" = field(default_factory=SimpleQueue)

    @classmethod
    def of(cls, engine: Engine, *, name: str, version: str) -> Self:
        """Return an engine as a model in service."""
        served = cls(engine, name, version)
        for _ in range(TOKENIZING_THREADS):
            served._tokenizers.put(TreeTokenizer(engine.bundle.path / TOKENIZER, engine.bundle.readout))
        return served

    @classmethod
    def load(cls, bundle: Path, *, name: str, version: str | None = None) -> Self:
        """Open a bundle for engines that run one thread each.

        Raises:
            ValueError: the folder is no bundle, or it is damaged.
        """
        opened = Bundle.open(bundle)
        engine = Engine(opened, threads=1)
        return cls.of(engine, name=name, version=version or opened.label.rpartition("/")[2])

    @property
    def label(self) -> str:
        """Return `NAME/VERSION`."""
        return f"{self.name}/{self.version}"

    @property
    def digest(self) -> str:
        """Return the digest of the bundle."""
        return self.engine.bundle.digest

    @property
    def shares_prompts(self) -> bool:
        """Say whether a prompt is computed once for all its responses: encoders read both at once."""
        return self.engine.bundle.readout.kind == "causal"

    def tree(self, prompt: Sequence[Message], responses: Sequence[str]) -> TokenTree:
        """Tokenize a group.

        Raises:
            ValueError: the chat template refuses the conversation.
        """
        tokenizer = self._tokenizers.get()
        try:
            return tokenizer.tree(prompt, responses)
        finally:
            self._tokenizers.put(tokenizer)
