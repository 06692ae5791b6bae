"""Take apart a conversation that a chat template has rendered, for callers that have nothing but its text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rewardlab.chat import render
from rewardlab.groups import Message
from rewardlab.readout import ReadOut

_A, _B, _C = "\ue000", "\ue001", "\ue002"
_ROLES = ("user", "assistant", "tool")
_MOST_OPENINGS = 64
"""Openings of an assistant's turn that are tried, from the last on; whoever writes more has written them as text."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a text held: the conversation, and the response that it ends with.

    `prompt` is messages, or the rendered text itself where its turns cannot be told apart. `literal` says that a marker
    of the template, or a special token, stands inside what somebody wrote; whether it was written there or is the
    template's own, no text can tell.
    """

    prompt: tuple[Message, ...] | str
    response: str
    literal: bool


class Transcripts:
    """Takes texts apart that one read-out's template has rendered.

    The rule: the response begins behind the last opening of an assistant's turn before which the text is a whole
    conversation, that is one which the template renders to the very same text; what ends the turn is left out. Where
    no opening has such a conversation before it, the response begins behind the last one, and the text before it is
    read as it is. So a literal opening inside a response is told from the turn's own, unless it is written with all
    that the template puts around a turn.

    Raises:
        ValueError: the template has no opening of an assistant's turn that could be looked for.
    """

    def __init__(self, readout: ReadOut) -> None:
        self._readout = readout
        specials = readout.special_tokens
        user, asked = self._render("user"), self._render("user", opened=True)
        self._start = user.partition(_A)[0]
        self._borders = {role: _any_of(self._borders_of(role)) for role in _ROLES}
        to_assistant = self._borders_of("user").get("assistant", "")
        generation = asked.removeprefix(user)
        # a template without a generation prompt is asked with nothing: the response's own header is looked for
        self._asks = bool(generation)
        self.opening = generation or to_assistant.removeprefix(asked.partition(_A)[2])
        if not self.opening.strip():
            raise ValueError("the chat template does not say where a response begins: send prompt and response apart")
        self._ends = dict.fromkeys(filter(None, map(self._end_of, ("user", "tool"))))
        self._system = self._system_parts()
        after = self._render("user", "assistant").partition(_B)[2]
        self._endings = sorted({after, after.rstrip(), specials.get("eos_token", "")} - {""}, key=len, reverse=True)
        marks = {self.opening, *specials.values(), after.strip(), to_assistant.strip()}
        self._marks = marks - {""}

    def split(self, text: str) -> Taken:
        """Return prompt and response of a rendered conversation that ends with an assistant's turn.

        Raises:
            ValueError: no assistant's turn begins in the text: another template has rendered it, or none.
        """
        openings = list(self._openings(text))
        if not openings:
            raise ValueError(
                f"the text holds no {self.opening!r}, with which this model's template begins an assistant's turn: "
                "render it with the template of the bundle, or send prompt and response apart"
            )
        for at in openings:
            turns = self.turns(text[: at + len(self.opening)])
            if turns:
                return self.taken(turns, text[at + len(self.opening) :])
        at = openings[0]
        head = text[: at + len(self.opening)] if self._asks else text[:at]
        return Taken(head, self.closed(text[at + len(self.opening) :]), literal=True)

    def taken(self, turns: tuple[Message, ...], response: str) -> Taken:
        """Return a conversation and a response whose end of turn may still be there."""
        response = self.closed(response)
        written = (*(turn.content for turn in turns), response)
        literal = any(mark in text for text in written for mark in self._marks)
        return Taken(turns, response, literal)

    def turns(self, text: str) -> tuple[Message, ...] | None:
        """Return the turns of a rendered prompt, up to where the assistant's begins; None if it is not one.

        Its beginning-of-text token may be left out, as clients do whose server adds it.
        """
        bos = self._readout.special_tokens.get("bos_token") or ""
        for whole in dict.fromkeys((text, bos + text)):
            for turns in self._parsed(whole):
                rendered = self._rendered(turns)
                if rendered == whole:
                    return turns
        return None

    def closed(self, response: str) -> str:
        """Return a response without what ends its turn."""
        ending = next((ending for ending in self._endings if response.endswith(ending)), "")
        return response.removesuffix(ending)

    def _parsed(self, text: str) -> Iterator[tuple[Message, ...]]:
        """Yield how a rendered prompt may be read; each turn ends where the next one's header first stands."""
        for end in self._ends:
            if not text.endswith(end):
                continue
            body = text.removesuffix(end)
            if body.startswith(self._start):
                yield self._sequence(body.removeprefix(self._start))
            if self._system and body.startswith(self._system[0]):
                said, found, rest = body.removeprefix(self._system[0]).partition(self._system[1])
                if found:
                    yield (Message("system", said), *self._sequence(rest))

    def _sequence(self, text: str) -> tuple[Message, ...]:
        """Return the turns of a text that begins with what a user wrote."""
        turns: list[Message] = []
        role, at = "user", 0
        while match := self._borders[role].search(text, at):
            turns.append(Message(role, text[at : match.start()]))
            role, at = str(match.lastgroup), match.end()
        return (*turns, Message(role, text[at:]))

    def _borders_of(self, role: str) -> dict[str, str]:
        """Return what the template writes between a message of this role and the next one, by the next one's role."""
        first = () if role == "user" else ("user",)
        found = {}
        for after in _ROLES:
            text = self._tried(*first, role, after)
            left, right = (_A, _B, _C)[len(first) : len(first) + 2]
            border = text.partition(left)[2].partition(right)[0]
            if border.strip():
                found[after] = border
        return found

    def _end_of(self, role: str) -> str:
        """Return what the template writes behind a last message of this role, up to where the response begins."""
        first = () if role == "user" else ("user",)
        end = self._tried(*first, role, opened=True).partition((_A, _B)[len(first)])[2]
        return end if self._asks or not end else end + self.opening

    def _openings(self, text: str) -> Iterator[int]:
        """Yield where assistants' turns may begin, from the last on."""
        at = len(text)
        for _ in range(_MOST_OPENINGS):
            at = text.rfind(self.opening, 0, at)
            if at < 0:
                return
            yield at

    def _system_parts(self) -> tuple[str, str] | None:
        """Return what stands before and behind a system's message; None if the template takes none as a turn."""
        before, found, rest = self._tried("system", "user").partition(_A)
        border, also, _ = rest.partition(_B)
        return (before, border) if found and also and border else None

    def _rendered(self, turns: Sequence[Message]) -> str | None:
        try:
            text = render(self._readout.template, turns, special_tokens=self._readout.special_tokens)
        except ValueError:
            return None
        return text if self._asks else text + self.opening

    def _tried(self, *roles: str, opened: bool = False) -> str:
        """Render a probe; nothing where the template refuses such a conversation."""
        try:
            return self._render(*roles, opened=opened)
        except ValueError:
            return ""

    def _render(self, *roles: str, opened: bool = False) -> str:
        turns = [Message(role, content) for role, content in zip(roles, (_A, _B, _C), strict=False)]
        specials = self._readout.special_tokens
        return render(self._readout.template, turns, special_tokens=specials, add_generation_prompt=opened)


def _any_of(named: dict[str, str]) -> re.Pattern[str]:
    """Return a pattern of texts whose group says which it was; of two at one place the longer one."""
    longest_first = sorted(named.items(), key=lambda pair: -len(pair[1]))
    return re.compile("|".join(f"(?P<{name}>{re.escape(text)})" for name, text in longest_first) or r"(?!)")
