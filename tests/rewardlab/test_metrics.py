import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss
from statsmodels.stats.proportion import proportion_confint

from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.metrics import (
    PairTable,
    accuracy,
    cluster_bootstrap,
    labelled_pairs,
    negative_log_likelihood,
    prompt_clusters,
    reliability,
    scored_pairs,
    wilson,
    win_probability,
)
from steps.common.statistics import fit_temperature, paired_difference, spearman


def group(prompt: str, responses: int = 2, **rest: object) -> PreferenceGroup:
    return PreferenceGroup(
        id=prompt, prompt=(Message("user", prompt),), responses=tuple("abcdefgh"[:responses]), **rest
    )


def random_pairs(num: int, seed: int = 0) -> PairTable:
    draw = np.random.default_rng(seed)
    strength = draw.choice([0.5, 2 / 3, 1.0], num)
    return PairTable(draw.normal(0.7, 1, num), draw.normal(0, 1, num), strength, np.arange(num) // 3)


def test_ties_of_rewards_count_half_and_ties_of_labels_not_at_all() -> None:
    pairs = PairTable(*map(np.array, ([1.0, 2.0, 0.0, 5.0], [0.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.5])), np.arange(4))
    found = accuracy(pairs)
    assert found is not None
    assert (found.value, found.num) == (0.5, 3)


def test_no_comparison_is_no_accuracy() -> None:
    assert accuracy(random_pairs(0)) is None


@pytest.mark.parametrize(("value", "num"), [(0.0, 5), (1.0, 7), (0.63, 441), (0.5, 2)])
def test_wilson_is_statsmodels(value: float, num: int) -> None:
    low, high = proportion_confint(value * num, num, method="wilson")
    assert wilson(value, num) == pytest.approx((max(0.0, low), high), abs=1e-12)


def test_bootstrap_interval_is_near_the_exact_one_when_clusters_are_single() -> None:
    outcomes = np.random.default_rng(1).binomial(1, 0.7, 900).astype(float)
    low, high = cluster_bootstrap(outcomes, np.arange(900))
    exact = stats.binomtest(int(outcomes.sum()), 900).proportion_ci()
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.01)


@pytest.mark.parametrize("num_clusters", [1, 40, 70_000])
def test_bootstrap_draws_one_resample_after_another(num_clusters: int) -> None:
    generator = np.random.default_rng(5)
    outcomes, sizes = generator.random(num_clusters), np.ones(num_clusters)
    draw, means = np.random.default_rng(3), []
    for _ in range(20):
        drawn = draw.integers(0, num_clusters, num_clusters)
        means.append(outcomes[drawn].sum() / sizes[drawn].sum())
    found = cluster_bootstrap(outcomes, np.arange(num_clusters), seed=3, repeats=20)
    assert found == tuple(np.quantile(means, [0.025, 0.975]))


def test_clustering_widens_the_interval() -> None:
    outcomes = np.repeat(np.random.default_rng(2).binomial(1, 0.6, 100).astype(float), 6)
    low, high = cluster_bootstrap(outcomes, np.repeat(np.arange(100), 6))
    narrow = wilson(float(outcomes.mean()), 600)
    assert high - low > 2 * (narrow[1] - narrow[0])


def test_groups_with_one_prompt_are_one_cluster() -> None:
    groups = [group("a"), group("b"), group("a")]
    assert prompt_clusters(groups) == [0, 1, 0]


def test_a_prompt_that_most_groups_share_is_no_cluster() -> None:
    assert len(set(prompt_clusters([group("rate this")] * 50))) == 50


def test_labelled_and_scored_pairs() -> None:
    rated = group("a", 3, comparisons=(Comparison(better=2, worse=0),), scores={"gold": (0.0, 1.0, 1.0)})
    labelled = labelled_pairs([rated], [[0.1, 0.2, 0.3]])
    assert (labelled.better.tolist(), labelled.worse.tolist()) == ([0.3], [0.1])
    scored = scored_pairs([rated], [[0.1, 0.2, 0.3]], "gold")
    assert sorted(zip(scored.better, scored.worse, strict=True)) == [(0.2, 0.1), (0.3, 0.1)]


def test_brier_and_likelihood_are_scikit_learns() -> None:
    pairs = random_pairs(500).decided
    sure = PairTable(pairs.better, pairs.worse, np.ones(len(pairs.better)), pairs.cluster)
    forward, truth = win_probability(sure, 1.3), np.ones(len(sure.better))
    found = reliability(sure, 1.3)
    assert found is not None
    assert found.brier == pytest.approx(brier_score_loss(truth, forward, pos_label=1))
    assert found.nll == pytest.approx(log_loss(truth, np.stack([1 - forward, forward], 1), labels=[0, 1]))


def test_ece_of_a_calibrated_model_is_small_and_of_an_overconfident_one_large() -> None:
    draw = np.random.default_rng(3)
    margin = draw.normal(0, 2, 40000)
    won = draw.random(40000) < 1 / (1 + np.exp(-margin))
    zeros = np.zeros(40000)
    pairs = PairTable(np.where(won, margin, -margin), zeros, np.ones(40000), np.arange(40000))
    good, bad = reliability(pairs, 1.0), reliability(pairs, 0.2)
    assert good is not None
    assert bad is not None
    assert good.ece < 0.01
    assert bad.ece > 0.15


def test_temperature_minimises_the_likelihood() -> None:
    pairs = random_pairs(2000)
    best = fit_temperature(pairs)
    around = [negative_log_likelihood(pairs, best * factor) for factor in (0.98, 1.0, 1.02)]
    assert min(around) == around[1]


def test_temperature_of_equal_rewards_is_refused() -> None:
    with pytest.raises(ValueError, match="different rewards"):
        fit_temperature(PairTable(np.ones(3), np.ones(3), np.ones(3), np.arange(3)))


def test_paired_difference_of_a_model_with_itself_is_zero() -> None:
    pairs = random_pairs(300)
    found = paired_difference(pairs, pairs)
    assert found is not None
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_paired_difference_needs_the_same_comparisons() -> None:
    with pytest.raises(ValueError, match="same comparisons"):
        paired_difference(random_pairs(300), random_pairs(300, seed=1))


def test_spearman_of_a_constant_is_none() -> None:
    assert spearman([1.0, 1.0], [1.0, 2.0]) is None
