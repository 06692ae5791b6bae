"""Over-optimisation: against closed forms, all subsets, and a curve whose coefficients are known."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from commands.overoptimization import Curves, best_of, curves, divergence, fit, overoptimization, spaced
from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import read_groups, read_json
from synthetic import MakeDataConfig, make_data
from tests.command import rewardlab


def test_the_best_of_n_is_the_mean_over_all_subsets() -> None:
    draw = np.random.default_rng(0)
    proxy, gold = draw.integers(0, 4, 8).astype(float), draw.normal(size=8)
    found = best_of(proxy, gold, 8)
    for n in range(1, 9):
        subsets = [np.array(each) for each in combinations(range(8), n)]
        best = [each[proxy[each] == proxy[each].max()] for each in subsets]
        assert found[0][n - 1] == pytest.approx(np.mean([proxy[each].mean() for each in best]))
        assert found[1][n - 1] == pytest.approx(np.mean([gold[each].mean() for each in best]))


def test_a_proxy_that_is_gold_gains_as_order_statistics_do() -> None:
    ranks, n = np.arange(1.0, 257.0), np.arange(1, 257)
    _, gold = best_of(ranks, ranks, 256)
    assert gold == pytest.approx(n * 257 / (n + 1))
    _, against = best_of(ranks, -ranks, 256)
    assert against == pytest.approx(-n * 257 / (n + 1))


def test_a_proxy_that_knows_nothing_gains_nothing() -> None:
    draw = np.random.default_rng(1)
    gold = draw.normal(size=(400, 256))
    assert best_of(np.zeros(256), gold[0], 256)[1] == pytest.approx(np.full(256, gold[0].mean()))
    found = overoptimization(curves(draw.normal(size=gold.shape).tolist(), gold.tolist()), list(range(400)))
    assert all(row.gold.low - 0.1 < 0 < row.gold.high + 0.1 for row in found.curve)
    assert found.fit.alpha.low < 0 < found.fit.alpha.high
    assert found.gained.low < 0 < found.gained.high


def test_a_normal_proxy_gains_the_expected_maximum() -> None:
    levels = stats.norm.ppf((np.arange(4096) + 0.5) / 4096)
    found, _ = best_of(levels, levels, 16)
    for n in (1, 2, 4, 16):
        x = np.linspace(-8, 8, 20001)
        wanted = np.trapezoid(x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1), x)
        assert found[n - 1] == pytest.approx(wanted, abs=2e-3)


def test_the_fit_finds_the_coefficients_of_its_own_curve() -> None:
    d = np.sqrt(divergence(256))
    assert divergence(256) == pytest.approx([np.log(n) - (n - 1) / n for n in range(1, 257)])
    assert fit(d * (1.3 - 0.45 * d)) == pytest.approx((1.3, 0.45))
    gold = np.array([d * (1.3 - 0.45 * d)] * 6) + np.linspace(-1, 1, 6)[:, None]
    found = overoptimization(Curves(gold, gold), [0, 0, 1, 1, 2, 2])
    assert [found.fit.alpha.value, found.fit.beta.value] == pytest.approx([1.3, 0.45])
    assert found.fit.peak_kl == pytest.approx((1.3 / 0.9) ** 2)
    assert found.peak.value == 1 + int(np.argmax(d * (1.3 - 0.45 * d)))
    assert found.peak.is_inside
    assert found.lost_behind_peak.value == pytest.approx(gold[0].max() - gold[0][-1])
    assert (found.num_groups, found.num_prompts, found.fit.r_squared) == (6, 3, pytest.approx(1.0))


def test_intervals_draw_whole_prompts() -> None:
    gold = np.random.default_rng(2).normal(size=(60, 8))
    alone = overoptimization(Curves(gold, gold), list(range(60))).curve[3].gold
    twice = overoptimization(Curves(gold.repeat(2, axis=0), gold.repeat(2, axis=0)), [at // 2 for at in range(120)])
    means = gold[np.random.default_rng(3).integers(0, 60, (4000, 60)), 3].mean(axis=1)
    assert (alone.low, alone.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.03)
    assert twice.curve[3].gold.to_dict() == pytest.approx(alone.to_dict())


def test_gains_are_within_prompts() -> None:
    rise = np.random.default_rng(4).normal(size=(60, 8))
    level = np.linspace(-100, 100, 60)[:, None]
    first, *_, last = overoptimization(Curves(rise + level, rise), list(range(60))).curve
    assert first.gain.proxy.to_dict() == pytest.approx({"value": 0, "low": 0, "high": 0})
    assert last.gain.proxy.to_dict() == pytest.approx(last.gain.gold.to_dict())
    assert last.proxy.high - last.proxy.low > 20


@pytest.mark.parametrize(("num", "last"), [(1, [1]), (2, [1, 2]), (256, [215, 256])])
def test_n_is_spaced_evenly_and_reaches_the_end(num: int, last: list[int]) -> None:
    assert spaced(num)[0] == 1
    assert spaced(num)[-2:].tolist() == last


def test_a_pool_of_one_is_refused() -> None:
    for pools in ([[1.0]], []):
        with pytest.raises(ValueError, match="two responses or more"):
            curves(pools, pools)


def test_the_command_measures_a_bundle_on_a_pool(tiny_bundle: Path, tmp_path: Path) -> None:
    make_data(MakeDataConfig(pool=3), tmp_path / "pool")
    out, html = tmp_path / "out.json", tmp_path / "out.html"
    done = rewardlab("overoptimize", "--data", tmp_path / "pool", "--model", tiny_bundle, "--json", out, "--page", html)
    assert done.code == 0, done.err
    written, page = read_json(out), html.read_text()
    groups = [group for path in sorted((tmp_path / "pool").glob("*.jsonl*")) for group in read_groups(path)]
    rewards = [Engine(Bundle.open(tiny_bundle)).score(group.prompt, group.responses).rewards for group in groups]
    wanted = np.mean([max(given) for given in rewards])
    assert (written["num_groups"], written["max_n"], written["curve"][-1]["n"]) == (3, 256, 256)
    assert written["curve"][-1]["proxy"]["value"] == pytest.approx(wanted)
    assert written["curve"][0]["gold"]["value"] == pytest.approx(np.mean([group.scores["gold"] for group in groups]))
    assert f"gold peaks at n = {written['peak']['value']:.0f}" in done.out
    assert "<svg" in page
    assert "script" not in page
