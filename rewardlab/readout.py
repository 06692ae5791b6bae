"""The read-out contract: which tokens are read and which one is scored."""

from dataclasses import dataclass
from typing import Literal

from rewardlab.chat import check_template, render
from rewardlab.combination import Combination, Ensemble
from rewardlab.config import Config
from rewardlab.groups import Message

Pooling = Literal["last_token", "mean", "cls", "attention"]

LENGTH_MULTIPLE = 8
"""The engine pads to multiples of this: kernels add the last tokens of other lengths in an order of their own, and a
reward would then depend on how far its batch-mates pad it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOut(Config):
    """How text becomes token ids and token ids become a reward; sealed in the bundle as `readout.json`.

    One response is read as `prefix + prompt + separator + response + end`, each tokenized on its own and
    concatenated. `last_token` pooling scores the last id of `end`. Limits count tokens of the rendered prompt and
    of the response alone, so that no sibling changes a reward. The output is the raw logit: of the one head where
    `aspects` is empty, else of the aspects as `combination` says.
    """

    kind: Literal["causal", "encoder"]
    template: str
    special_tokens: dict[str, str]
    prefix: tuple[int, ...] = ()
    separator: tuple[int, ...] = ()
    end: tuple[int, ...]
    pad_id: int
    prompt_limit: int
    response_limit: int
    pooling: Pooling
    tokenizer_digest: str
    aspects: tuple[str, ...] = ()
    combination: Combination = Combination()
    ensemble: Ensemble = Ensemble()

    def __post_init__(self) -> None:
        if not self.end:
            raise ValueError("the read-out has no end-of-turn token to score")
        if self.pad_id in self.end:
            raise ValueError(
                f"pad and end of turn are the same token (id {self.pad_id}), so padding would move the scored "
                "position: give the tokenizer a pad token of its own"
            )
        if self.prompt_limit < 1 or self.response_limit < 1:
            raise ValueError(f"limits are at least 1 token, got {self.prompt_limit} and {self.response_limit}")
        self.combination.check(self.aspects)
        check_template(self.template)
        self._check_bos()

    @property
    def max_tokens(self) -> int:
        """Return the length of the longest sequence that can be read."""
        fixed = len(self.prefix) + len(self.separator) + len(self.end)
        return fixed + self.prompt_limit + self.response_limit

    def _check_bos(self) -> None:
        bos = self.special_tokens.get("bos_token")
        if not bos:
            return
        text = render(self.template, (Message("user", "probe"),), special_tokens=self.special_tokens)
        if text.startswith(bos + bos) or (text.startswith(bos) and self.prefix):
            raise ValueError(f"the rendered prompt begins with a second {bos!r}: remove it from the template")
