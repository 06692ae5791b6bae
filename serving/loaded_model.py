"""A loaded model: an engine, its tokenizers, and the name that every reply carries."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from rewardlab.bundle import Bundle
from rewardlab.engine import Device, Engine
from rewardlab.groups import Message
from rewardlab.layout import TOKENIZER
from rewardlab.tokens import TokenTree, TreeTokenizer
from serving.transcripts import Taken, Transcripts

TOKENIZING_THREADS = 2
"""Tokenizing takes 1-2 % of a model's time; a second thread is for others while one reads a very long text."""


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and its responses; `decoded` responses come from a policy's tokens and may hold their end of turn."""

    prompt: tuple[Message, ...]
    responses: Sequence[str]
    decoded: bool = False

    @property
    def num_bytes(self) -> int:
        """Return about how many bytes there are to tokenize."""
        return sum(len(turn.content) for turn in self.prompt) + sum(map(len, self.responses))


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered conversation that ends with a response, as text or as token ids.

    `prompt` is how the text begins, where the client says so. `apart` says that it sent prompt and response as two
    texts: then a prompt that nobody has rendered is one user turn.
    """

    text: str | Sequence[int]
    prompt: str = ""
    apart: bool = False

    @property
    def num_bytes(self) -> int:
        """Return about how many bytes there are to tokenize."""
        return len(self.text)

    @property
    def responses(self) -> tuple[None]:
        """Return that there is one response."""
        return (None,)


Item = Group | Text


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """How a bundle is loaded: the key that must have signed it, if any, and the device that computes it."""

    verify_key: Path | None = None
    device: Device = "cpu"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LoadedModel:
    """An engine and its label. Threads cannot share a tokenizer, so each that tokenizes has one of its own."""

    engine: Engine
    name: str
    version: str
    _transcripts: Transcripts | str
    _tokenizers: "SimpleQueue[TreeTokenizer]" = field(default_factory=SimpleQueue)

    @classmethod
    def of(cls, engine: Engine, *, name: str, version: str, before: "LoadedModel | None" = None) -> Self:
        """Return an engine as a model in service, with the tokenizers of the one before it where it reads the same way.

        Opening a tokenizer halts all threads, and the one before is in service.
        """
        if before and before.engine.reads_like(engine.bundle):
            return cls(engine, name, version, before._transcripts, before._tokenizers)
        try:
            transcripts: Transcripts | str = Transcripts(engine.bundle.readout)
        except ValueError as error:  # the template cannot be taken apart: such texts are refused, groups are not
            transcripts = str(error)
        model = cls(engine, name, version, transcripts)
        for _ in range(TOKENIZING_THREADS):
            model._tokenizers.put(TreeTokenizer(engine.bundle.path / TOKENIZER, engine.bundle.readout))
        return model

    @classmethod
    def load(
        cls,
        bundle: Path,
        *,
        name: str,
        version: str | None = None,
        before: "LoadedModel | None" = None,
        options: LoadOptions,
    ) -> Self:
        """Open a bundle for an engine that runs one thread, beside the one in service.

        Raises:
            ValueError: the folder is no bundle, it is damaged, the owner of `verify_key` did not sign it, or there is
                no such device.
        """
        opened = Bundle.open(bundle, verify_key=options.verify_key)
        engine = Engine(opened, threads=1, device=options.device, beside=before.engine if before else None)
        number = version or opened.label.rpartition("/")[2]
        return cls.of(engine, name=name, version=number, before=before)

    @property
    def label(self) -> str:
        """Return `NAME/VERSION`."""
        return f"{self.name}/{self.version}"

    @property
    def digest(self) -> str:
        """Return the digest of the bundle."""
        return self.engine.bundle.digest

    def tokenize(self, item: Item) -> tuple[TokenTree, bool]:
        """Tokenize a group or a text; say whether a marker of the template stands in what somebody wrote.

        Raises:
            ValueError: the chat template refuses the conversation, or has not rendered the text.
        """
        tokenizer = self._tokenizers.get()
        try:
            if isinstance(item, Group):
                return tokenizer.tree(item.prompt, self._closed(item)), False
            taken = self._take(item, tokenizer)
            if isinstance(taken.prompt, str):
                return tokenizer.rendered_tree(taken.prompt, [taken.response]), taken.literal
            return tokenizer.tree(taken.prompt, [taken.response]), taken.literal
        finally:
            self._tokenizers.put(tokenizer)

    def _closed(self, group: Group) -> Sequence[str]:
        if not group.decoded or isinstance(self._transcripts, str):
            return group.responses
        return [self._transcripts.closed(response) for response in group.responses]

    def _take(self, item: Text, tokenizer: TreeTokenizer) -> Taken:
        if isinstance(self._transcripts, str):
            raise ValueError(self._transcripts)
        text = item.text if isinstance(item.text, str) else tokenizer.text(item.text)
        if item.prompt and text.startswith(item.prompt):
            response = text.removeprefix(item.prompt)
            if turns := self._transcripts.turns(item.prompt):
                return self._transcripts.taken(turns, response)
            if item.apart:
                return self._transcripts.taken((Message("user", item.prompt),), response)
        return self._transcripts.split(text)
