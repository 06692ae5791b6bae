"""The synthetic data: seeded, labelled by votes, and without a cue in the responses alone."""

from collections import defaultdict

import pytest

from rewardlab.files import read_groups
from steps.make_data import MakeDataConfig, make_data


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "data"
    make_data(MakeDataConfig(num_prompts=300), folder)
    return [group for path in sorted(folder.iterdir()) for group in read_groups(path)]


def test_equal_configurations_give_equal_bytes(tmp_path):
    configs = [MakeDataConfig(num_prompts=40, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (make_data(config, tmp_path / str(at)).digest for at, config in enumerate(configs))
    assert first == again != other


def test_every_response_set_is_ranked_in_reverse_by_another_prompt(groups):
    ranked = defaultdict(set)
    for group in groups:
        order = sorted(zip(group.scores["gold"], group.responses, strict=True))
        ranked[tuple(sorted(group.responses))].add(tuple(response for _, response in order))
    assert all(any(order[::-1] in orders for order in orders) for orders in ranked.values())


def test_votes_disagree_sometimes_and_follow_the_gold_scores(groups):
    strengths = {round(entry.strength, 2) for group in groups for entry in group.comparisons}
    decided = [(group.scores["gold"], entry) for group in groups for entry in group.comparisons if entry.strength > 0.5]
    right = sum(gold[entry.better] > gold[entry.worse] for gold, entry in decided)
    assert {0.5, 0.67, 0.83, 1.0} <= strengths
    assert right / len(decided) > 0.9


def test_twins_share_a_family_and_all_subsets_are_there(groups):
    assert {group.subset for group in groups} == {"letter_case", "refusal", "harmless", "arithmetic", "brevity", "copy"}
    assert len({group.prompt for group in groups}) == len(groups) == 300
    assert all(one.family == two.family for one, two in zip(groups[::2], groups[1::2], strict=True))
