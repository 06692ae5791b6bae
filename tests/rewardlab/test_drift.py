"""Drift, recomputed with scipy and by simulation."""

import numpy as np
import pytest
from scipy import stats

from rewardlab.drift import Reference, drift, kolmogorov, ks, psi, psi_noise


def normal(num: int, *, mean: float = 0.0, seed: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.random.default_rng(seed).normal(mean, 1.0, num)


REFERENCE = Reference.of(normal(3000, seed=9))


def test_ks_is_scipys_against_the_straight_distribution() -> None:
    values, levels = REFERENCE.curve
    for sample in (normal(400), normal(400, mean=0.4), np.zeros(5), np.array([99.0])):
        wanted = stats.ks_1samp(sample, lambda at: np.interp(at, values, levels, left=0.0, right=1.0)).statistic
        assert ks(sample, REFERENCE) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("distance", [0.0, 0.01, 0.05, 0.1, 0.3, 1.0])
def test_the_p_value_is_scipys(distance: float) -> None:
    wanted = stats.kstwobign.sf(distance * np.sqrt(400 * 900 / 1300))
    assert kolmogorov(distance, 400, 900) == pytest.approx(wanted, abs=1e-10)


def test_psi_is_its_formula_over_the_quantiles_bins() -> None:
    sample = normal(500, mean=0.3)
    edges = [-np.inf, *(REFERENCE.quantiles[level] for level in sorted(REFERENCE.quantiles, key=float)[1:-1]), np.inf]
    levels = np.array(sorted(map(float, REFERENCE.quantiles)))
    expected = np.diff(levels[1:-1], prepend=0, append=1)
    counts, _ = np.histogram(sample, edges)
    actual = np.where(counts, counts, 0.5) / 500
    assert psi(sample, REFERENCE) == pytest.approx(sum((actual - expected) * np.log(actual / expected)))


def test_the_noise_of_psi_is_what_samples_that_did_not_move_show() -> None:
    draw = np.random.default_rng(3)
    found = [psi(draw.normal(size=400), Reference.of(draw.normal(size=300))) for _ in range(1500)]
    bound = psi_noise(400, Reference.of(draw.normal(size=300)))
    assert np.mean(np.array(found) > bound) == pytest.approx(0.01, abs=0.01)
    assert bound == pytest.approx(stats.chi2.ppf(0.99, 14) * (1 / 400 + 1 / 300), rel=0.01)


@pytest.mark.parametrize(("mean", "num", "large"), [(0.0, 50, False), (0.0, 5000, False), (0.8, 400, True)])
def test_a_shift_is_large_when_it_is_no_chance(mean: float, num: int, large: bool) -> None:
    found = drift(normal(num, mean=mean), REFERENCE)
    assert found is not None
    assert found.is_large == large
    assert (found.ks_p_value < 0.01) == large
    assert found.shift_sd == pytest.approx(mean, abs=0.3)


def test_a_constant_reference_is_one_bin() -> None:
    constant = Reference.of([1.0, 1.0])
    same, moved = drift([1.0] * 9, constant), drift([2.0] * 9, constant)
    assert same is not None
    assert moved is not None
    assert (same.ks, moved.ks, moved.shift_sd) == (0.0, 1.0, None)


def test_what_cannot_be_measured_is_refused() -> None:
    assert drift([], REFERENCE) is None
    with pytest.raises(ValueError, match="not finite"):
        drift([0.0, float("nan")], REFERENCE)
    with pytest.raises(ValueError, match="export it again"):
        drift([0.0], Reference(mean=0.0, sd=1.0, quantiles={}, num=0))


def test_a_shift_is_told_as_plain_numbers() -> None:
    found = drift(normal(400, mean=0.4), REFERENCE)
    assert found is not None
    assert found.to_dict() == {name: getattr(found, name) for name in found.to_dict()}
    assert {"psi", "ks"} <= found.to_dict().keys()
