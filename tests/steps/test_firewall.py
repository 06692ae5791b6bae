"""The data firewall: planted defects of every kind are found, and nothing else is."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.defects import AGAINST, ALIKE, BENCHMARK, COPY, FLAGS, KINDS, LEAK, NEARLY, REASONS, Planted, plant
from benchmarks.firewall import find, sound
from rewardlab.files import read_json, write_groups
from rewardlab.text import normal, words
from steps.common.duplicates import jaccard, shingles
from steps.validate import ValidateConfig, pinned, validate

EXACT = [kind for kind in KINDS if kind not in (NEARLY, ALIKE)]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(sound(1500), share=0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("firewall")


@pytest.fixture(scope="module")
def found(planted: Planted, folder: Path) -> dict[str, set[str]]:
    """Return the ids that were found, by what was found of them."""
    return find(planted, folder)


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 12
    assert set(EXACT) == {*REASONS, *FLAGS, COPY, AGAINST, BENCHMARK, LEAK}


@pytest.mark.parametrize("kind", EXACT)
def test_every_exact_defect_is_found(planted: Planted, found: dict[str, set[str]], kind: str) -> None:
    assert planted.ids[kind] <= found[kind]


@pytest.mark.parametrize(("kind", "name"), [(NEARLY, BENCHMARK), (ALIKE, ALIKE)])
def test_near_duplicates_are_found(planted: Planted, found: dict[str, set[str]], kind: str, name: str) -> None:
    assert len(planted.ids[kind] & found[name]) >= 0.95 * len(planted.ids[kind])


def test_nothing_else_is_found(planted: Planted, found: dict[str, set[str]]) -> None:
    assert found[BENCHMARK] == planted.ids[BENCHMARK] | planted.ids[NEARLY]
    assert set().union(*found.values()) == set().union(*planted.ids.values())


def test_the_report_counts_the_benchmarks_texts(planted: Planted, found: dict[str, set[str]], folder: Path) -> None:
    (about,) = read_json(folder / "accepted" / "validation.json")["benchmarks"].values()
    assert about == {
        "groups": len(planted.benchmark),
        "prompts": len(planted.ids[BENCHMARK]),
        "responses": len(planted.ids[NEARLY]),
    }


@given(st.text(st.characters(max_codepoint=300), max_size=60))
def test_words_are_the_same_whichever_way_they_are_found(text: str) -> None:
    for given_text in (text, text.encode("ascii", "ignore").decode()):
        assert words(given_text) == re.findall(r"\w+", normal(given_text))


@given(st.lists(st.sampled_from("ab"), max_size=9))
def test_shingles_are_the_set_of_three_words_in_a_row(words: list[str]) -> None:
    padded = words + [""] * (3 - len(words))
    found = shingles(" ".join(words))
    assert len(found) == len({tuple(padded[at : at + 3]) for at in range(len(padded) - 2)})
    assert (np.diff(found.astype(object)) > 0).all()


def test_nearly_the_same_is_a_jaccard_similarity(planted: Planted) -> None:
    texts = {response for group in planted.benchmark for response in group.responses}
    (changed, *_) = (group for group in planted.groups if group.id in planted.ids[NEARLY])
    likeness = max(jaccard(shingles(changed.responses[0]), shingles(text)) for text in texts)
    assert 0.8 <= likeness < 1.0


def test_a_benchmark_that_has_changed_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    write_groups(tmp_path / "groups.jsonl.gz", sound(8))
    (tmp_path / "benchmark.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": 3}\n', encoding="utf-8")
    place = str(tmp_path / "benchmark.jsonl")
    for md5, message in (("0" * 32, "start the run again"), ("", "no row of the benchmark")):
        with pytest.raises(ValueError, match=message):
            validate(pinned(ValidateConfig(benchmarks={place: md5})), tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="there is no data at"):
        pinned(ValidateConfig(benchmarks={str(tmp_path / "nowhere.jsonl"): ""}))
