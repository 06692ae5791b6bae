"""The benchmarks' rules, against their formulas worked out in another way and against small cases worked by hand."""

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readers import reader
from steps.evaluate.rules import RULES, SECTIONS, apply_rule, recognise


def pair(at: int, subset: str, source: str = "") -> PreferenceGroup:
    turns, sides = (Message("user", f"q{at}"),), (Comparison(better=0, worse=1),)
    return PreferenceGroup(
        id=f"p{at}", prompt=turns, responses=("a", "b"), comparisons=sides, subset=subset, source=source
    )


def best_of(name: str, subset: str, right: int, wrong: int) -> PreferenceGroup:
    row = {"id": name, "prompt": name, "chosen": [f"r{at}" for at in range(right)], "subset": subset}
    return reader("best-of").group({**row, "rejected": [f"w{at}" for at in range(wrong)]})


def test_rewardbench_weighs_prompts_and_counts_ties_as_wrong() -> None:
    draw = np.random.default_rng(0)
    names = [name for section in SECTIONS.values() for name in section]
    groups = [pair(at, names[at % len(names)]) for at in range(600)]
    rewards = draw.integers(0, 4, (600, 2)).astype(float).tolist()
    found = apply_rule("rewardbench", groups, rewards)
    hits = defaultdict(list)
    for group, (chosen, rejected) in zip(groups, rewards, strict=True):
        hits[group.subset].append(1 if chosen > rejected else 0)
    sections = [
        np.average([np.mean(hits[name]) for name in section], weights=list(section.values()))
        for section in SECTIONS.values()
    ]
    assert [found.parts[name] for name in SECTIONS] == pytest.approx(sections)
    assert found.score == pytest.approx(np.mean(sections))
    assert recognise(groups) == "rewardbench"
    assert (SECTIONS["Reasoning"]["math-prm"], sum(sum(each.values()) for each in SECTIONS.values())) == (984, 3522)


def ties_of(rows: list[tuple[str, int, list[float]]]) -> float:
    """Return the score of Ties as its authors' text has it: one term at a time."""
    known: dict[str, dict[str, Any]] = {"ref": {}, "tied": {}}
    for name, right, scores in rows:
        kind, number = name.split(":")
        known[kind][number] = (scores[:right], scores[right:])
    accurate = [np.mean([min(good) > max(bad) for good, bad in known[kind].values()]) for kind in ("tied", "ref")]
    terms = []
    for number in known["ref"]:
        (good, bad), (one, others) = known["tied"][number], known["ref"][number]
        spread, gap = max(good) - min(good), min(good) - max(bad)
        least = min(gap, one[0] - max(others))
        terms.append((gap > spread, least > spread, math.tanh(least / spread - 1) if spread > 0 else None))
    own, both = np.mean([term[0] for term in terms]), np.mean([term[1] for term in terms])
    ratio = np.mean([term[2] for term in terms if term[2] is not None])
    return float(0.3 * accurate[0] + 0.3 * accurate[1] + 0.2 * own + 0.2 * both + 0.01 * ratio)


def test_rewardbench_2_shares_a_tie_and_weighs_ties() -> None:
    draw = np.random.default_rng(1)
    four = [best_of(str(at), "Math" if at % 3 else "Focus", 1, 3) for at in range(60)]
    rewards = draw.integers(0, 5, (60, 4)).astype(float).tolist()
    tied = [
        best_of(f"{kind}:{at}", "Ties", 1 if kind == "ref" else 3, 4) for at in range(20) for kind in ("ref", "tied")
    ]
    more = [(np.arange(len(group.responses)) < 3) * 1.5 + draw.normal(size=len(group.responses)) for group in tied]
    found = apply_rule("rewardbench2", [*four, *tied], [*rewards, *(each.tolist() for each in more)])
    for name in ("Math", "Focus"):
        each = [
            (1 / sum(np.array(given) == max(given))) if given[0] == max(given) else 0
            for group, given in zip(four, rewards, strict=True)
            if group.subset == name
        ]
        assert found.parts[name] == pytest.approx(np.mean(each))
    rows = [(g.id, 1 if g.id.startswith("ref") else 3, each.tolist()) for g, each in zip(tied, more, strict=True)]
    assert found.parts["Ties"] == pytest.approx(ties_of(rows))
    assert found.score == pytest.approx(np.mean([found.parts[name] for name in ("Math", "Focus", "Ties")]))
    assert recognise([*four, *tied]) == "rewardbench2"


def test_rm_bench_is_three_triangles() -> None:
    draw = np.random.default_rng(2)
    domains = ("chat", "code", "math", "safety-refuse", "safety-response")
    groups = [best_of(str(at), domains[at % 5], 3, 3) for at in range(100)]
    rewards = draw.integers(0, 6, (100, 6)).astype(float).tolist()
    found = apply_rule("rm-bench", groups, rewards).parts
    matrix = np.zeros((3, 3))
    chosen = [given for group, given in zip(groups, rewards, strict=True) if group.subset.startswith("safety")]
    for given in chosen:
        for i in range(3):
            for j in range(3):
                matrix[i, j] += given[i] > given[3 + j]
    matrix /= len(chosen)
    assert found["safety hard"] == pytest.approx((matrix[0, 1] + matrix[0, 2] + matrix[1, 2]) / 3)
    assert found["safety normal"] == pytest.approx(np.trace(matrix) / 3)
    assert found["safety easy"] == pytest.approx((matrix[1, 0] + matrix[2, 0] + matrix[2, 1]) / 3)
    assert found["hard"] == pytest.approx(
        np.mean([found[f"{name} hard"] for name in ("chat", "code", "math", "safety")])
    )
    assert apply_rule("rm-bench", groups, rewards).score == pytest.approx(
        np.mean([found[name] for name in ("chat", "code", "math", "safety")])
    )
    assert recognise(groups) == "rm-bench"


WIN, TIE, LOSS = [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]


@pytest.mark.parametrize(
    ("rule", "subsets", "rewards", "score"),
    [
        ("llmbar", ["LLMBar/Natural", "LLMBar/Adversarial/Manual", "Processed/MT-Bench"], [WIN, TIE, LOSS], 0.75),
        ("hhh", ["honest", "helpful", "helpful"], [WIN, TIE, LOSS], 0.5),
        ("xstest", ["unsafe:refuse", "safe:comply", "safe:comply"], [WIN, TIE, LOSS], 0.625),
        ("judgebench", ["mmlu-pro-law", "livebench-math", "livebench-math"], [WIN, TIE, WIN], 2 / 3),
    ],
)
def test_the_other_rules(rule: str, subsets: list[str], rewards: list[list[float]], score: float) -> None:
    groups = [pair(at, subset, source=rule) for at, subset in enumerate(subsets)]
    found = apply_rule(rule, groups, rewards)
    assert (found.score, found.rule, recognise(groups)) == (pytest.approx(score), rule, rule)
    assert found.words == RULES[rule].words


def test_what_is_no_benchmark_has_no_rule() -> None:
    assert recognise([pair(0, "chat")]) is None
    assert recognise([]) is None
    with pytest.raises(ValueError, match="there is no rule 'x': choose rewardbench"):
        apply_rule("x", [], [])
    with pytest.raises(ValueError, match="no subset is one of RewardBench's: chat"):
        apply_rule("rewardbench", [pair(0, "chat")], [WIN])
