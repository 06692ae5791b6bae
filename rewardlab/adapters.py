"""Reward functions as trainers such as TRL's call them: prompts and completions in, one reward for each out."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardlab.engine import Engine

Turn = Mapping[str, Any]
Text = str | Sequence[Turn]
"""What trainers hand over: a string, or a list of `{role, content}`."""


def reward_function(engine: "Engine") -> Callable[..., list[float]]:
    """Return a reward function that scores in this process; give it to a trainer's `reward_funcs`.

    It is called as TRL calls it, `(prompts=..., completions=..., **columns)`, and returns the raw reward of each
    completion. The columns are not looked at. Its name, `engine_reward`, is what trainers log.

    Args:
        engine: what `rewardlab.load` returns.

    Example:
        >>> import rewardlab
        >>> reward = reward_function(rewardlab.load("bundle"))
        >>> rewards = reward(prompts=["What is 2 + 2?"] * 2, completions=["It is 4.", "It is 5."], trainer_state=None)
        >>> len(rewards)
        2
    """

    def engine_reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:  # noqa: ARG001
        scored = engine.score_many(grouped(prompts, completions))
        return [reward for scores in scored for reward in scores]

    return engine_reward


def grouped(prompts: Sequence[Text], completions: Sequence[Text]) -> list[tuple[Text, list[str]]]:
    """Return each prompt with its responses; consecutive completions to one prompt are one group.

    Args:
        prompts: strings or conversations.
        completions: strings, or messages that end with the assistant's.

    Raises:
        ValueError: the lengths differ, or a completion is not a text.

    Example:
        >>> grouped(["a", "a", "b"], ["1", "2", [{"role": "assistant", "content": "3"}]])
        [('a', ['1', '2']), ('b', ['3'])]
    """
    if len(prompts) != len(completions):
        raise ValueError(f"one completion per prompt, got {len(prompts)} prompts and {len(completions)} completions")
    pairs = [_split(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
    groups = itertools.groupby(pairs, key=lambda pair: pair[0])
    return [(prompt, [response for _, response in group]) for prompt, group in groups]


def _split(prompt: Text, completion: Text) -> tuple[Text, str]:
    """Return what the response answers and the response: messages before the completion's last belong to the prompt.

    Raises:
        ValueError: the completion does not end with a text of the assistant.
    """
    if isinstance(completion, str):
        return prompt, completion
    last = completion[-1] if completion else {}
    if last.get("role") != "assistant" or not isinstance(last.get("content"), str):
        raise ValueError(f"a completion is a string or messages that end with the assistant's text, got {last!r:.80}")
    if len(completion) == 1:
        return prompt, last["content"]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [*turns, *completion[:-1]], last["content"]
