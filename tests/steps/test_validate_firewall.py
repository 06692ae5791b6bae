"""Agreement, circles and personal data: against published values, a graph library's answer, and planted rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from rewardlab.files import read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from steps.validate import ValidateConfig, validate
from steps.validate.agreement import alpha, coincidences, has_cycle, turncoats, verdicts
from steps.validate.personal import personal_data

KRIPPENDORFF = "1 1 . 1/2 2 3 2/3 3 3 3/3 3 3 3/2 2 2 2/1 2 3 4/4 4 4 4/1 1 2 1/2 2 2 2/. 5 5 5/. . 1 1/. . 3 ."
"""Twelve units by four observers, of section C of "Computing Krippendorff's Alpha-Reliability" (2011)."""


def group(at: int, **known: object) -> PreferenceGroup:
    sides = (Comparison(better=at % 2, worse=1 - at % 2),)
    plain = {"comparisons": sides, "responses": (f"Yes, {at}.", f"Surely not, {at}!")}
    return PreferenceGroup(id=f"g{at}", prompt=(Message("user", f"Question {at}?"),), **{**plain, **known})  # type: ignore[arg-type]


def test_alpha_is_krippendorffs_own_example() -> None:
    units = [[int(value) - 1 for value in unit.split() if value != "."] for unit in KRIPPENDORFF.split("/")]
    found = alpha(coincidences(units, 5))
    assert found == pytest.approx(0.743, abs=0.0005)
    assert alpha(coincidences([[0, 0], [0, 0, 0]], 3)) is None
    assert alpha(coincidences([[0], [1]], 3)) is None


def test_alpha_of_chance_is_zero_and_of_agreement_one() -> None:
    draw = np.random.default_rng(0)
    assert alpha(coincidences(draw.integers(0, 2, (4000, 3)).tolist(), 3)) == pytest.approx(0.0, abs=0.03)
    assert alpha(coincidences([[side] * 3 for side in draw.integers(0, 2, 50).tolist()], 3)) == 1.0


def test_circles_are_strong_components() -> None:
    draw = np.random.default_rng(1)
    for _ in range(200):
        pairs = {tuple(draw.choice(5, 2, replace=False).tolist()) for _ in range(draw.integers(1, 7))}
        edges = [(one, other) for one, other in pairs if (other, one) not in pairs]
        matrix = np.zeros((5, 5))
        for one, other in edges:
            matrix[one, other] = 1
        comparisons = tuple(Comparison(better=one, worse=other) for one, other in edges)
        made = group(0, responses=tuple("abcde"), comparisons=comparisons)
        assert has_cycle(made) == (connected_components(matrix, connection="strong")[0] < 5)


def test_an_annotator_who_says_both_is_a_turncoat() -> None:
    both = (Comparison(better=0, worse=1, annotator="a"), Comparison(better=1, worse=0, annotator="a"))
    other = (both[0], replace(both[1], annotator="b"))
    assert [turncoats(group(0, votes=votes)) for votes in (both, other)] == [1, 0]
    assert verdicts(group(0, votes=(*both, Comparison(better=0, worse=1, strength=0.5, annotator="c")))) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("mail ann.b+c@mail.example.org now", ["mail"]),
        ("call (555) 123-4567 or +1 555 123 4567", ["telephone"]),
        ("pay with 4111 1111 1111 1111", ["card"]),
        ("pay to GB82 WEST 1234 5698 7654 32", ["account"]),
        ("ping 192.168.10.254", ["machine"]),
        ("4111 1111 1111 1112, GB82 WEST 1234 5698 7654 33, 999.1.1.1, v1.2.3, a @ b, 1234567890123456", []),
        ("2 + 2 = 4", []),
    ],
)
def test_personal_data_are_found_by_their_check_digits(text: str, kinds: list[str]) -> None:
    assert personal_data(text) == kinds


def test_planted_defects_are_all_counted(tmp_path: Path) -> None:
    both = (Comparison(better=0, worse=1, annotator="a"), Comparison(better=1, worse=0, annotator="a"))
    circle = tuple(Comparison(better=at, worse=(at + 1) % 3) for at in range(3))
    groups = [group(at) for at in range(200)]
    groups[3] = group(3, votes=both)
    groups[7] = groups[9] = group(7, responses=("a", "b", "c"), comparisons=circle)
    groups[9] = replace(groups[9], id="g9", prompt=(Message("user", "9"),))
    groups[11] = group(11, responses=("Ask ann@example.org.", "No."))
    write_groups(tmp_path / "groups.jsonl.gz", groups)
    validate(ValidateConfig(), tmp_path, tmp_path / "out")
    found = {each["name"]: each["observed"] for each in read_json(tmp_path / "out" / "validation.json")["expectations"]}
    assert found["few_annotators_contradict_themselves"] == pytest.approx(1 / 200)
    assert found["few_rows_go_round_in_a_circle"] == pytest.approx(2 / 200)
    assert found["few_rows_hold_personal_data"] == pytest.approx(1 / 200)
    assert found["annotators_agree_beyond_chance"] == pytest.approx(-0.0, abs=1.0)
