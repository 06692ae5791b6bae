"""Score prompts and responses with a bundle."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from rewardlab.bundle import GOLDEN, MODEL, TOKENIZER, Bundle
from rewardlab.engine.session import Session
from rewardlab.groups import Message, messages
from rewardlab.tokens import TokenTree, TreeTokenizer

GOLDEN_TOLERANCE = 1e-4
"""Allowed difference to the golden scores on another CPU, in units of max(1, s.d. of the rewards)."""

Group = tuple[Sequence[Message], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scores(Sequence[float]):
    """Rewards of one group's responses, whether each was truncated, and how many tokens each was read as.

    As a sequence it is its rewards.
    """

    rewards: tuple[float, ...]
    truncated: tuple[bool, ...]
    num_tokens: tuple[int, ...]

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...
    def __getitem__(self, index: int | slice) -> float | tuple[float, ...]:
        """Return a reward, or several."""
        return self.rewards[index]

    def __len__(self) -> int:
        """Return the number of responses."""
        return len(self.rewards)


class Engine:
    """Scores with one bundle. Rewards do not depend on batch, order, padding or thread; safe to share by threads.

    Args:
        bundle: an opened bundle.
        threads: for one forward pass; by default all cores.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self.bundle = bundle
        self._tokenizer = TreeTokenizer(bundle.path / TOKENIZER, bundle.readout)
        self._tokenizing = threading.Lock()
        self._session = Session(bundle.path / MODEL, pad_id=bundle.readout.pad_id, threads=threads)

    def score(self, prompt: str | Sequence[Message], responses: Sequence[str]) -> Scores:
        """Score the responses to one prompt.

        Args:
            prompt: messages, or a string that is one user turn.
            responses: any number of texts.

        Raises:
            ValueError: the chat template refuses the conversation.
            ArithmeticError: the model returned a reward that is not finite.
        """
        turns = messages(prompt) if isinstance(prompt, str) else prompt
        return self.score_many([(turns, responses)])[0]

    def score_many(
        self, groups: Sequence[Group], *, on_progress: Callable[[int], object] | None = None
    ) -> list[Scores]:
        """Score many groups; `on_progress` hears how many more responses are done."""
        with self._tokenizing:
            trees = [self._tokenizer.tree(prompt, responses) for prompt, responses in groups]
        sequences = [tree.sequence(index) for tree in trees for index in range(len(tree.responses))]
        rewards = self._session.run(sequences, on_progress)
        if not np.isfinite(rewards).all():
            bad = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise ArithmeticError(f"the model returned {rewards[bad]} for response {bad}")
        return _split(trees, rewards.tolist())

    def check_golden(self) -> None:
        """Re-score the bundle's golden texts.

        Raises:
            ValueError: a score is off by more than the tolerance: the bundle or this machine's arithmetic is not
                what was sealed.
        """
        rows = [json.loads(line) for line in (self.bundle.path / GOLDEN).read_text(encoding="utf-8").splitlines()]
        found = self.score_many([(messages(row["prompt"]), row["responses"]) for row in rows])
        error = max(
            abs(reward - wanted)
            for scores, row in zip(found, rows, strict=True)
            for reward, wanted in zip(scores.rewards, row["rewards"], strict=True)
        )
        tolerance = GOLDEN_TOLERANCE * max(1.0, self.bundle.calibration.sd)
        if not error <= tolerance:
            raise ValueError(f"golden scores of {self.bundle.path} are off by {error:.2e}, allowed is {tolerance:.2e}")


def _split(trees: Sequence[TokenTree], rewards: Sequence[float]) -> list[Scores]:
    scores, start = [], 0
    for tree in trees:
        count = len(tree.responses)
        lengths = tuple(len(tree.sequence(index)) for index in range(count))
        scores.append(Scores(tuple(rewards[start : start + count]), tree.truncated, lengths))
        start += count
    return scores
