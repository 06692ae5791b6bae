"""Score prompts and responses with a bundle."""

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from rewardlab.bundle import Bundle
from rewardlab.engine.session import Device, Session
from rewardlab.groups import Message, messages
from rewardlab.layout import GOLDEN, MODEL, TOKENIZER
from rewardlab.tokens import TokenTree, TreeTokenizer

GOLDEN_TOLERANCE = 1e-4
COARSE_GOLDEN_TOLERANCE = 1e-2
"""Allowed difference to the golden scores on another CPU, in units of max(1, s.d. of the rewards).

In 8 bits an activation that lies on the border between two steps may fall on either side; in fp16 a GPU adds in
another order."""

Prompt = str | Sequence[Message] | Sequence[Mapping[str, Any]]
"""A string, which is one user turn, or messages."""
Group = tuple[Prompt, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scores(Sequence[float]):
    """Rewards of one group's responses, whether each was truncated, and how many tokens each was read as.

    As a sequence it is its rewards, which are raw logits: only differences between responses to one prompt mean
    something, and `Engine.compare` says what. `aspects` holds what each named head gave each response; it is empty
    where the model has one head.

    Example:
        >>> scores = Scores(rewards=(1.5, -0.9), truncated=(False, False), num_tokens=(21, 21))
        >>> first, second = scores
        >>> first - second
        2.4
    """

    rewards: tuple[float, ...]
    truncated: tuple[bool, ...]
    num_tokens: tuple[int, ...]
    aspects: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

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
        threads: for one forward pass; by default as many as the cores that this process may use.
        device: "cuda" computes on the first GPU, with onnxruntime-gpu.
        beside: an engine in use. Its tokenizer is shared where it reads the same way, as opening one halts all threads.

    Example:
        >>> from pathlib import Path
        >>> engine = Engine(Bundle.open(Path("bundle")))  # or rewardlab.load("bundle"), which checks the scores too
        >>> len(engine.score("What is 2 + 2?", ["It is 4.", "It is 5."]))
        2
    """

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, device: Device = "cpu", beside: "Engine | None" = None
    ) -> None:
        self.bundle = bundle
        if beside is None or not beside.reads_like(bundle):
            self._tokenizer = TreeTokenizer(bundle.path / TOKENIZER, bundle.readout)
            self._tokenizing = threading.Lock()
        else:
            self._tokenizer, self._tokenizing = beside._tokenizer, beside._tokenizing
        model, pad_id = bundle.path / MODEL, bundle.readout.pad_id
        self._session = Session(model, pad_id=pad_id, threads=threads, device=device)

    def reads_like(self, other: Bundle) -> bool:
        """Say whether another bundle's texts become the same tokens."""
        ours, theirs = ((each.readout, each.manifest["files"][TOKENIZER]) for each in (self.bundle, other))
        return ours == theirs

    @property
    def shares_prompts(self) -> bool:
        """Say whether a prompt is read once for all its responses; other graphs read it with each of them."""
        return self._session.shares_prompts

    @property
    def num_prompt_hits(self) -> int:
        """Return how often a prompt was found read already, by this engine's threads together."""
        return self._session.prompts.num_hits

    @property
    def num_prompt_misses(self) -> int:
        """Return how often a prompt had to be read; hits and misses stay 0 where prompts are not shared."""
        return self._session.prompts.num_misses

    @property
    def num_tokens(self) -> int:
        """Return how many tokens have been read; a prompt that is shared counts once."""
        return self._session.num_tokens

    @property
    def num_padded_tokens(self) -> int:
        """Return how many tokens were computed for them, padding included."""
        return self._session.num_padded_tokens

    def score(self, prompt: Prompt, responses: Sequence[str]) -> Scores:
        """Score the responses to one prompt.

        Args:
            prompt: messages, or a string that is one user turn.
            responses: any number of texts.

        Raises:
            ValueError: the prompt is no conversation, or the chat template refuses it.
            ArithmeticError: the model returned a reward that is not finite.

        Example:
            >>> import rewardlab
            >>> talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
            >>> len(rewardlab.load("bundle").score(talk, ["It is 4.", "It is 5.", "No."]))
            3
        """
        return self.score_many([(prompt, responses)])[0]

    def compare(self, prompt: Prompt, first: str, second: str) -> float:
        """Return the probability that the first response is preferred to the second.

        It is sigmoid((r_first - r_second) / temperature) (Bradley & Terry 1952), with the temperature that the
        bundle's calibration split asked for; equal rewards are 0.5.

        Raises:
            ValueError, ArithmeticError: as `score`.

        Example:
            >>> import rewardlab
            >>> engine = rewardlab.load("bundle")
            >>> forward = engine.compare("What is 2 + 2?", "It is 4.", "It is 5.")
            >>> backward = engine.compare("What is 2 + 2?", "It is 5.", "It is 4.")
            >>> round(forward + backward, 9)
            1.0
        """
        rewards = self.score(prompt, (first, second))
        return 0.5 + 0.5 * math.tanh((rewards[0] - rewards[1]) / (2.0 * self.bundle.calibration.temperature))

    def score_many(
        self, groups: Sequence[Group], *, on_progress: Callable[[int], object] | None = None
    ) -> list[Scores]:
        """Score many groups; `on_progress` hears how many more responses are done.

        Example:
            >>> import rewardlab
            >>> groups = [(group.prompt, group.responses) for group in rewardlab.read("pairs.jsonl")]
            >>> [len(scores) for scores in rewardlab.load("bundle").score_many(groups)]
            [2, 2, 2]
        """
        with self._tokenizing:
            trees = [self._tokenizer.tree(_turns(prompt), responses) for prompt, responses in groups]
        return self.score_trees(trees, on_progress=on_progress)

    def score_trees(
        self, trees: Sequence[TokenTree], *, on_progress: Callable[[int], object] | None = None
    ) -> list[Scores]:
        """Score groups that a `TreeTokenizer` of this bundle has tokenized; a server keeps one in each of its threads.

        Raises:
            ArithmeticError: the model returned a reward that is not finite.
        """
        outputs = self._session.outputs(trees, on_progress)
        if not np.isfinite(outputs).all():
            bad, at = np.argwhere(~np.isfinite(outputs))[0]
            raise ArithmeticError(f"the model returned {outputs[bad, at]} for response {bad}")
        return _split(trees, outputs, self.bundle.readout.aspects)

    def check_golden(self, *, parallel: int = 1) -> None:
        """Re-score the bundle's golden texts, so many groups at a time.

        Raises:
            ValueError: a score is off by more than the tolerance: the bundle or this machine's arithmetic is not
                what was sealed.
        """
        rows = [json.loads(line) for line in (self.bundle.path / GOLDEN).read_text(encoding="utf-8").splitlines()]
        with ThreadPoolExecutor(parallel) as pool:
            found = list(pool.map(lambda row: self.score(row["prompt"], row["responses"]), rows))
        error = max(
            abs(reward - wanted)
            for scores, row in zip(found, rows, strict=True)
            for reward, wanted in zip(scores.rewards, row["rewards"], strict=True)
        )
        share = GOLDEN_TOLERANCE if self.bundle.manifest["precision"] == "fp32" else COARSE_GOLDEN_TOLERANCE
        tolerance = share * max(1.0, self.bundle.calibration.sd)
        if not error <= tolerance:
            raise ValueError(f"golden scores of {self.bundle.path} are off by {error:.2e}, allowed is {tolerance:.2e}")


def _turns(prompt: Prompt) -> tuple[Message, ...]:
    turns = [turn for turn in prompt if isinstance(turn, Message)]
    return tuple(turns) if turns and len(turns) == len(prompt) else messages(prompt)


def _split(trees: Sequence[TokenTree], outputs: npt.NDArray[np.float32], aspects: Sequence[str]) -> list[Scores]:
    """Return the scores of each tree; a row of outputs is a response's reward and that of each aspect."""
    scores, start = [], 0
    for tree in trees:
        count = len(tree.responses)
        lengths = tuple(len(tree.sequence(index)) for index in range(count))
        rewards, *rest = (tuple(column.tolist()) for column in outputs[start : start + count].T)
        scores.append(Scores(rewards, tree.truncated, lengths, dict(zip(aspects, rest, strict=True))))
        start += count
    return scores
