"""Token trees: a prompt's ids once, and the ids of each response that hangs from it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from rewardlab.chat import render, unused_character
from rewardlab.files import file_digest
from rewardlab.groups import Message
from rewardlab.readout import ReadOut
from rewardlab.text import utf8


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Ids of `[prompt | response 1 | ... | response K]`; response i is read as `prompt + responses[i]`."""

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    truncated: tuple[bool, ...]

    def sequence(self, index: int) -> tuple[int, ...]:
        """Return the ids that are read for one response; the last one is scored by `last_token` pooling."""
        return self.prompt + self.responses[index]


class TreeTokenizer:
    """Turns prompts and responses into token trees as a read-out says.

    Special tokens in what people wrote stay text: a response that holds `<|im_end|>` does not end its turn. Not to
    be shared between threads.

    Raises:
        ValueError: `tokenizer.json` is not the one the read-out was made for.
    """

    def __init__(self, tokenizer: Path, readout: ReadOut) -> None:
        if (digest := file_digest(tokenizer)) != readout.tokenizer_digest:
            raise ValueError(
                f"{tokenizer} has sha256 {digest[:12]}, the read-out was made for {readout.tokenizer_digest[:12]}: "
                "rewards would be read from other tokens"
            )
        self.readout = readout
        self._markup, self._text = open_tokenizers(tokenizer)
        specials = [token.content for token in self._markup.get_added_tokens_decoder().values() if token.special]
        self._special = re.compile("|".join(map(re.escape, sorted(specials, key=len, reverse=True))) or r"(?!)")

    def tree(self, prompt: Sequence[Message], responses: Sequence[str]) -> TokenTree:
        """Tokenize one group.

        Raises:
            ValueError: the template refuses the conversation, or a text is not valid Unicode.
        """
        for text in (*(turn.content for turn in prompt), *responses):
            utf8("text", text)
        return self._tree(*self._prompt(tuple(prompt)), responses)

    def rendered_tree(self, prompt: str, responses: Sequence[str]) -> TokenTree:
        """Tokenize a group whose prompt somebody else has rendered; of one that is too long the end is read.

        Raises:
            ValueError: a text is not valid Unicode.
        """
        for text in (prompt, *responses):
            utf8("text", text)
        (ids,) = _ids(self._markup, [prompt])
        limit = self.readout.prompt_limit
        return self._tree(tuple(ids[-limit:]), len(ids) > limit, responses)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text that ids stand for, special tokens included.

        Raises:
            ValueError: the tokenizer has no such id.
        """
        size = self._markup.get_vocab_size()
        if wrong := [each for each in ids if not 0 <= each < size]:
            raise ValueError(f"token ids are in 0..{size - 1}, got {wrong[0]}")
        return str(self._markup.decode(list(ids), skip_special_tokens=False))

    def _tree(self, prompt_ids: tuple[int, ...], prompt_cut: bool, responses: Sequence[str]) -> TokenTree:
        readout = self.readout
        limit = readout.response_limit
        encoded = _ids(self._text, responses)
        return TokenTree(
            readout.prefix + prompt_ids + readout.separator,
            tuple(tuple(ids[:limit]) + readout.end for ids in encoded),
            tuple(prompt_cut or len(ids) > limit for ids in encoded),
        )

    def _prompt(self, prompt: tuple[Message, ...]) -> tuple[tuple[int, ...], bool]:
        """Return the prompt's ids within its limit: the oldest turns go first, then the oldest tokens."""
        limit = self.readout.prompt_limit
        ids = self._render(prompt)
        if len(ids) <= limit:
            return tuple(ids), False
        system = prompt[:1] if prompt[0].role == "system" else ()
        for start in range(len(system) + 1, len(prompt)):
            if prompt[start].role != "user":
                continue
            ids = self._render(system + prompt[start:])
            if len(ids) <= limit:
                break
        return tuple(ids[-limit:]), True

    def _render(self, prompt: tuple[Message, ...]) -> list[int]:
        """Render and tokenize; special tokens that people wrote are held apart by a character that is not theirs."""
        mark = unused_character(turn.content for turn in prompt)
        held = tuple(Message(turn.role, self._special.sub(rf"{mark}\g<0>{mark}", turn.content)) for turn in prompt)
        text = render(self.readout.template, held, special_tokens=self.readout.special_tokens)
        pieces = text.split(mark)
        if len(pieces) % 2 == 0:
            raise ValueError("the chat template cuts a message inside a special token that it holds")
        ids: list[int] = []
        for index, piece in enumerate(pieces):
            tokenizer = self._text if index % 2 else self._markup
            ids += _ids(tokenizer, [piece])[0] if piece else []
        return ids


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of texts without working out where in them each token stands."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def open_tokenizers(tokenizer: Path) -> tuple[Tokenizer, Tokenizer]:
    """Return a `tokenizer.json` twice: one parses special tokens, one reads them as plain text."""
    markup, text = Tokenizer.from_file(str(tokenizer)), Tokenizer.from_file(str(tokenizer))
    for each in (markup, text):
        each.no_padding()
        each.no_truncation()
    text.encode_special_tokens = True
    return markup, text
