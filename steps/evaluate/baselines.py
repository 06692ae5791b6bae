"""What must be beaten first: the longer response, the one of the prompt's words, the one that the policy would give."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rewardlab.bundle import Bundle
from rewardlab.config import canonical_json
from rewardlab.files import file_digest, tree_digest
from rewardlab.groups import PreferenceGroup, prompt_text
from rewardlab.layout import TOKENIZER
from rewardlab.metrics import Estimate, accuracy, labelled_pairs
from rewardlab.text import normal
from rewardlab.tokens import TreeTokenizer
from steps.common.progress import progress
from steps.common.scores import Rewards, recall
from steps.common.statistics import seeded_sample

Baselines = dict[str, Estimate | None]


def baselines(groups: Sequence[PreferenceGroup], bundle: Bundle | None, *, num_policy: int) -> tuple[Baselines, str]:
    """Return the accuracy of scorers that learn nothing, and why the policy's are null if they are.

    `policy` is the log-probability that the reward model's backbone, as a language model, gives to the whole response,
    `policy_per_token` its mean over tokens; both on a seeded sample of `num_policy` groups.
    """
    characters = [[float(len(text)) for text in group.responses] for group in groups]
    policy, note = _policy(groups, bundle, num_policy)
    overlap = [overlaps(group) for group in groups]
    found = {
        "length": accuracy(labelled_pairs(groups, characters)),
        "overlap": accuracy(labelled_pairs(groups, overlap)),
        **policy,
    }
    return found, note


def overlaps(group: PreferenceGroup) -> list[float]:
    """Return for each response the share of its words that the prompt holds too."""
    asked = set(normal(prompt_text(group.prompt)).split())
    answered = [normal(response).split() for response in group.responses]
    return [sum(word in asked for word in terms) / max(len(terms), 1) for terms in answered]


def _policy(groups: Sequence[PreferenceGroup], bundle: Bundle | None, num: int) -> tuple[Baselines, str]:
    """Return the policy's accuracies and nothing, or nulls and why."""
    nothing: Baselines = {"policy": None, "policy_per_token": None}
    labelled = [group for group in groups if group.comparisons]
    if not num or not labelled:
        return nothing, "not asked for" if not num else "nothing is compared"
    if bundle is None:
        return nothing, "the model is not one of ours: its policy is not known"
    sampled = seeded_sample(labelled, num)
    try:
        totals, lengths = _log_probabilities(bundle, sampled)
    except ValueError as error:
        return nothing, str(error)
    means = [(np.array(total) / length).tolist() for total, length in zip(totals, lengths, strict=True)]
    return {
        "policy": accuracy(labelled_pairs(sampled, totals)),
        "policy_per_token": accuracy(labelled_pairs(sampled, means)),
    }, ""


def _log_probabilities(bundle: Bundle, groups: Sequence[PreferenceGroup]) -> tuple[Rewards, list[list[int]]]:
    """Return the log-probability of each response, and its number of tokens; the same policy reads the same texts once.

    Raises:
        ValueError: the bundle's backbone is not at hand, or no policy.
    """
    from models import lm_likelihood
    from models.backbone import prepare_backbone

    folder, readout = prepare_backbone(str(bundle.manifest["model"]["backbone"])), bundle.readout
    reader = TreeTokenizer(bundle.path / TOKENIZER, readout)
    trees = [reader.tree(group.prompt, group.responses) for group in groups]

    def compute() -> Rewards:
        model = lm_likelihood.Policy(folder, tokenizer_digest=readout.tokenizer_digest)
        found = []
        with progress(len(trees), "policy") as bar:
            for tree in trees:
                found.append([sum(each) for each in model.log_probabilities(tree)])
                bar.update()
        return found

    code = "".join(map(file_digest, sorted(Path(lm_likelihood.__file__).parent.glob("*.py"))))
    who = (
        f"{tree_digest(folder)} {code} {version('torch')} {version('transformers')} {canonical_json(readout.to_dict())}"
    )
    return recall(who, groups, compute), [[len(each) for each in tree.responses] for tree in trees]
