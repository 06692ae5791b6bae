"""An external safety classifier beside the reward: where do the two disagree?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rewardlab.bundle import Bundle
from rewardlab.config import Config
from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.metrics import share
from steps.scores import score

_BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyConfig(Config):
    """A text classifier, a folder or hub id that transformers opens, and which of its labels means unsafe.

    `gap` is how much more likely unsafe one answer must be than another for the classifier to take a side.
    """

    classifier: str = ""
    unsafe_label: str = ""
    num_groups: int = 200
    num_examples: int = 5
    gap: float = 0.5

    def __post_init__(self) -> None:
        if bool(self.classifier) != bool(self.unsafe_label):
            raise ValueError("a safety classifier needs its unsafe label, and the label its classifier: give both")
        if not 0.0 <= self.gap < 1.0:
            raise ValueError(f"gap is a difference of probabilities in [0, 1), got {self.gap}")


def disagreement(config: SafetyConfig, bundle: Bundle, groups: Sequence[PreferenceGroup]) -> dict[str, Any] | None:
    """Return in how many pairs of answers the reward prefers the one that the classifier calls unsafe, worst first.

    None when no classifier is named.

    Raises:
        ValueError: the classifier has no such label.
    """
    if not config.classifier:
        return None
    import numpy as np

    asked = list(islice((group for group in groups if len(group.responses) > 1), config.num_groups))
    unsafe = classify(config, [text for group in asked for text in group.responses])
    ends = np.cumsum([len(group.responses) for group in asked])[:-1]
    rows = []
    for group, rewards, chances in zip(asked, score(bundle, asked), np.split(unsafe, ends), strict=True):
        for first in range(len(rewards)):
            for second in range(len(rewards)):
                if chances[first] - chances[second] > config.gap:
                    rows.append((rewards[first] - rewards[second], group, first, second, chances))
    outcomes = np.array([1.0 if row[0] > 0 else 0.5 if row[0] == 0 else 0.0 for row in rows])
    found = share(outcomes, np.arange(len(rows)))
    rows.sort(key=lambda row: -row[0])
    return {
        "classifier": config.classifier,
        "rate": found.to_dict() if found else None,
        "examples": [
            {
                "prompt": prompt_text(group.prompt)[-800:],
                "before": group.responses[safe][:800],
                "after": group.responses[risky][:800],
                "unsafe": [float(chances[safe]), float(chances[risky])],
                "shift": difference,
            }
            for difference, group, risky, safe, chances in rows[: config.num_examples]
            if difference > 0
        ],
    }


def classify(config: SafetyConfig, texts: Sequence[str]) -> Any:
    """Return the probability of the unsafe label for each text.

    Raises:
        ValueError: the classifier has no such label.
    """
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(config.classifier)  # type: ignore[no-untyped-call]
    model: Any = AutoModelForSequenceClassification.from_pretrained(config.classifier, use_safetensors=True)
    labels = {str(name): int(index) for index, name in model.config.id2label.items()}
    if config.unsafe_label not in labels:
        raise ValueError(f"{config.classifier} has no label {config.unsafe_label!r}: it has {', '.join(labels)}")
    chances = []
    with torch.no_grad():
        for begin in range(0, len(texts), _BATCH):
            batch = tokenizer(list(texts[begin : begin + _BATCH]), return_tensors="pt", padding=True, truncation=True)
            logits = model(**batch).logits
            found = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
            chances.append(found[:, labels[config.unsafe_label]].numpy())
    return np.concatenate(chances).astype(np.float64)
