"""The synthetic data: seeded, graded, labelled by votes, stable when it grows, and without a cue in the responses."""

from itertools import combinations, islice

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.code_digest import ROOT
from pipelines.recipes import RECIPES, recipe
from rewardlab.files import read_groups, write_groups
from steps.common.data_files import data_md5
from steps.ingest import IngestConfig, ingest
from steps.resolve import data_version
from steps.split import SplitConfig, split
from synthetic import MakeDataConfig, make_data
from synthetic.make import _tasks
from tests.shortcuts import held_out_accuracy, minilm, overlap

SUBSETS = {
    *("arithmetic", "dates_units", "string_edits", "counts_formats", "json_keys", "injection"),
    *("passage", "unknown", "refusal", "harmless", "multi_turn", "bias"),
}


def made(folder, **config):
    make_data(MakeDataConfig(**config), folder)
    return read(folder)


def read(folder):
    return [group for path in sorted(folder.glob("*.jsonl.gz")) for group in read_groups(path)]


def labels_right(groups):
    """Return the share of decided labels that agree with the gold scores."""
    decided = [(group.scores["gold"], entry) for group in groups for entry in group.comparisons if entry.strength > 0.5]
    apart = [
        gold[entry.better] > gold[entry.worse] for gold, entry in decided if gold[entry.better] != gold[entry.worse]
    ]
    return sum(apart) / len(apart)


def longer_wins(groups):
    """Return the share of decided labels that go to the longer response."""
    lengths = [
        (len(group.responses[entry.better]), len(group.responses[entry.worse]))
        for group in groups
        for entry in group.comparisons
        if entry.strength > 0.5
    ]
    return np.mean([better > worse for better, worse in lengths if better != worse])


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    return made(tmp_path_factory.mktemp("made") / "data", size=2400)


def test_equal_configurations_give_equal_bytes(tmp_path):
    configs = [MakeDataConfig(size=40, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (make_data(config, tmp_path / str(at)).digest for at, config in enumerate(configs))
    assert first == again != other


def test_the_committed_data_are_what_is_made(tmp_path):
    make_data(MakeDataConfig(), tmp_path / "data")
    assert data_md5(tmp_path / "data") == data_version(str(ROOT), "", "").md5


def test_twins_rank_the_same_responses_in_reverse(groups):
    for one, two in zip(groups[::2], groups[1::2], strict=True):
        assert sorted(one.responses) == sorted(two.responses)
        assert one.prompt != two.prompt
        gold, other = (dict(zip(twin.responses, twin.scores["gold"], strict=True)) for twin in (one, two))
        for a, b in combinations(one.responses, 2):
            assert np.sign(gold[a] - gold[b]) == -np.sign(other[a] - other[b])


def test_twins_share_a_family_and_every_subset_has_every_grade(groups):
    assert {(group.subset, group.meta["grade"]) for group in groups} == {(s, g) for s in SUBSETS for g in "123"}
    assert len({group.prompt for group in groups}) == len(groups) == 2400
    assert all(one.family == two.family for one, two in zip(groups[::2], groups[1::2], strict=True))


def test_labels_hold_ties_disagreement_and_mistakes(groups):
    strengths = {round(entry.strength, 2) for group in groups for entry in group.comparisons}
    assert {0.5, 0.67, 0.83, 1.0} <= strengths
    assert 0.9 < labels_right(groups) < 0.99
    assert {entry.annotator for group in groups for entry in group.votes} == {"ada", "ben", "eve"}


def test_ratings_are_by_aspect_and_bias_is_a_tie(groups):
    for group in groups:
        assert set(group.scores) == {"gold", "helpful", "harmless"}
        assert all(0.0 <= value <= 1.0 for ratings in group.scores.values() for value in ratings)
    assert any(len(set(group.scores["gold"])) < 4 for group in groups if group.subset == "bias")
    assert all(min(group.scores["harmless"]) < 1.0 for group in groups if group.subset == "refusal")


def test_growth_keeps_every_group_and_its_split(tmp_path):
    placed = []
    for size in (480, 960):
        folder = tmp_path / str(size)
        make_data(MakeDataConfig(size=size), folder / "data")
        ingest(IngestConfig(), folder / "data", folder / "groups")
        split(SplitConfig(), folder / "groups", folder / "splits")
        paths = sorted((folder / "splits").glob("*.jsonl.gz"))
        placed.append({group.id: (path.name, group) for path in paths for group in read_groups(path)})
    small, large = placed
    assert len(small) == 480
    assert small.items() <= large.items()


def test_a_subset_that_runs_out_of_prompts_goes_on_with_other_responses():
    names = ("arithmetic", "bias")
    tasks = islice(_tasks(MakeDataConfig(size=12_000)), 6000)
    twins = [task.twins for task in tasks if task.name.startswith(names)]
    prompts = [prompt for each in twins for prompt in each.prompts]
    assert len(set(prompts)) < len(prompts)
    assert len({(prompt, each.responses) for each in twins for prompt in each.prompts}) == len(prompts)


def test_noise_and_length_bias_bend_the_labels_of_training_alone(tmp_path, groups):
    for flag, bent in (("noise", labels_right), ("length_bias", longer_wins)):
        make_data(MakeDataConfig(size=960, **{flag: 0.5}), tmp_path / flag)
        train, test = read(tmp_path / flag / "train"), read(tmp_path / flag / "test")
        assert abs(bent(train) - bent(groups)) > 0.15
        assert abs(bent(test) - bent(groups)) < 0.05
        assert {group.family for group in train}.isdisjoint(group.family for group in test)
        assert len(train) + len(test) == 960


def test_a_pool_has_256_rated_responses_a_prompt(tmp_path):
    pool = made(tmp_path / "pool", pool=32)
    assert len(pool) == 32
    assert all(len(set(group.responses)) == 256 and not group.comparisons for group in pool)
    assert all(len(set(group.scores["gold"])) > 4 for group in pool)


def test_a_pool_is_of_families_that_every_recipe_tests_on(tmp_path, groups):
    pool = made(tmp_path / "pool", pool=32)
    for shares in {recipe(name).split for name in RECIPES}:
        folder = tmp_path / f"{shares.test:g}"
        write_groups(folder / "groups.jsonl.gz", (*pool, *groups))
        split(shares, folder, folder / "splits")
        tested = {group.id for group in read_groups(folder / "splits" / "test.jsonl.gz")}
        assert {group.id for group in pool} <= tested


def test_overlap_with_the_prompt_tells_nothing(groups):
    model = HistGradientBoostingClassifier(random_state=0)
    assert abs(held_out_accuracy(model, groups, map(overlap, groups)) - 0.5) <= 0.10


@pytest.mark.campaign
def test_frozen_minilm_cannot_tell_responses_apart_alone(groups):
    for with_prompt in (False, True):
        model = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=2000))
        accuracy = held_out_accuracy(model, groups, minilm(groups, with_prompt=with_prompt))
        print(f"frozen MiniLM, with prompt: {with_prompt}, accuracy {accuracy:.3f}")
        assert with_prompt or accuracy <= 0.55
