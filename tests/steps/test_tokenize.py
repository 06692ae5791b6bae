"""Token stores: what is written is what is read, and what a loss may learn from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardlab.files import read_groups, read_json, write_groups
from rewardlab.groups import Comparison, Message, PreferenceGroup
from rewardlab.readout import ReadOut
from rewardlab.tokens import TokenTree, TreeTokenizer
from steps.common.tokenstore import TokenStore, pack_trees, write_store
from steps.tokenize import TokenizeConfig, tokenize

TREE = TokenTree((1, 2, 3), ((4, 5), (), (6,)), (False, False, False))
CONFIG = TokenizeConfig(backbone="tiny", prompt_limit=256, response_limit=256)


def group(name: str, comparisons: tuple[Comparison, ...] = (), **scores: tuple[float, ...]) -> PreferenceGroup:
    return PreferenceGroup(
        id=name, prompt=(Message("user", "Hi"),), responses=("a", "b", "c"), comparisons=comparisons, scores=scores
    )


def store(folder: Path, *groups: PreferenceGroup, aspects: tuple[str, ...] = ("gold",)) -> TokenStore:
    chunks = [pack_trees([(each, TREE)], aspects=aspects) for each in groups]
    assert write_store(folder / "store", chunks, aspects=aspects) == len(groups)
    return TokenStore(folder / "store")


def test_a_group_comes_back_as_it_was(tmp_path: Path) -> None:
    comparisons = (Comparison(better=2, worse=0, strength=0.75, margin=0.1), Comparison(better=0, worse=1))
    found = store(tmp_path, group("x", gold=(1.0, 2.0, 3.0)), group("y", comparisons, gold=(0.1, 0.2, 0.3)))
    stored = found[1]
    assert (len(found), found.num_tokens, stored.id) == (2, 12, "y")
    assert (stored.prompt.tolist(), [ids.tolist() for ids in stored.responses]) == ([1, 2, 3], [[4, 5], [], [6]])
    assert (stored.comparisons, stored.scores, stored.weight) == (comparisons, {"gold": (0.1, 0.2, 0.3)}, 1.0)


def test_scores_of_another_aspect_are_left_out(tmp_path: Path) -> None:
    found = store(tmp_path, group("x", helpful=(1.0, 2.0, 3.0)), group("y", gold=(1.0, 2.0, 3.0)))
    assert [found[0].scores, found[1].scores] == [{}, {"gold": (1.0, 2.0, 3.0)}]


def test_each_aspect_keeps_its_labels(tmp_path: Path) -> None:
    pairs = ((0, 1, None), (0, 2, "safe"), (1, 2, "helpful"))
    comparisons = tuple(Comparison(better=one, worse=other, aspect=aspect) for one, other, aspect in pairs)
    rated, compared = group("x", safe=(1.0, 2.0, 3.0), gold=(0.0, 0.0, 0.0)), group("y", comparisons)
    found = store(tmp_path, rated, compared, aspects=("helpful", "safe"))
    assert (found.aspects, found[0].scores) == (("helpful", "safe"), {"safe": (1.0, 2.0, 3.0)})
    assert found[1].comparisons == comparisons


def test_a_weight_comes_back(tmp_path: Path) -> None:
    found = store(tmp_path, group("x"), replace(group("y"), weight=0.25))
    assert [found[0].weight, found[1].weight] == [1.0, 0.25]


def test_comparisons_of_the_aspect_and_of_none_are_kept(tmp_path: Path) -> None:
    pairs = ((0, 1, None), (0, 2, "gold"), (1, 2, "helpful"))
    comparisons = tuple(Comparison(better=one, worse=other, aspect=aspect) for one, other, aspect in pairs)
    found = store(tmp_path, group("x", comparisons))
    assert [(each.better, each.worse) for each in found[0].comparisons] == [(0, 1), (0, 2)]


def test_an_empty_store_is_read(tmp_path: Path) -> None:
    found = store(tmp_path)
    assert (len(found), found.num_tokens) == (0, 0)


def test_ids_stay_on_disk_until_they_are_read(tmp_path: Path) -> None:
    assert isinstance(store(tmp_path, group("x"))[0].prompt, np.memmap)


def test_the_step_stores_what_the_tokenizer_says(splits: Path, tokens: Path) -> None:
    readout = ReadOut.from_dict(read_json(tokens / "readout.json"))
    reader = TreeTokenizer(tokens / "tokenizer.json", readout)
    found = TokenStore(tokens / "validation")
    for place, each in enumerate(read_groups(splits / "validation.jsonl.gz")):
        tree, stored = reader.tree(each.prompt, each.responses), found[place]
        assert stored.id == each.id
        assert tuple(stored.prompt.tolist()) == tree.prompt
        assert tuple(tuple(ids.tolist()) for ids in stored.responses) == tree.responses


def test_the_step_counts_and_repeats_itself(splits: Path, tmp_path: Path) -> None:
    first, second = (tokenize(CONFIG, splits, tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert first.num_train == len(list(read_groups(splits / "train.jsonl.gz")))
    assert (first.num_truncated, first.num_validation > 0) == (0, True)


def test_truncated_responses_are_counted_and_within_the_limit(splits: Path, tmp_path: Path) -> None:
    config = TokenizeConfig(backbone="tiny", prompt_limit=256, response_limit=4)
    assert tokenize(config, splits, tmp_path / "tokens").num_truncated > 0
    stored = TokenStore(tmp_path / "tokens" / "train")
    assert max(len(ids) for place in range(len(stored)) for ids in stored[place].responses) == 5


def test_the_chunks_do_not_matter(splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, prompt_limit=64, response_limit=48)
    whole = tokenize(config, splits, tmp_path / "whole")
    monkeypatch.setattr("rewardlab.files._CHUNK_BYTES", 8000)
    assert tokenize(config, splits, tmp_path / "parts") == whole
    assert whole.num_truncated > 0


@pytest.mark.parametrize("aspects", [(), ("gold", "gold")])
def test_aspects_that_are_none_or_twice_the_same_are_refused(aspects: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="aspects are one name or several different ones"):
        TokenizeConfig(backbone="tiny", aspects=aspects)


def test_a_group_beyond_the_budget_is_refused_by_name(splits: Path, tmp_path: Path) -> None:
    tokenize(CONFIG, splits, tmp_path / "tokens")
    stores = (TokenStore(tmp_path / "tokens" / name) for name in ("train", "validation"))
    groups = [store[at] for store in stores for at in range(len(store))]
    sizes = {each.id: len(each.prompt) + sum(map(len, each.responses)) for each in groups}
    largest = max(sizes.values())
    tokenize(replace(CONFIG, token_budget=largest), splits, tmp_path / "fits")
    with pytest.raises(ValueError, match=f"takes {largest} tokens, the budget is {largest - 1}: raise") as raised:
        tokenize(replace(CONFIG, token_budget=largest - 1), splits, tmp_path / "too_small")
    assert sizes[str(raised.value).split("'")[1]] == largest
    assert not (tmp_path / "too_small").exists()


def test_an_encoder_takes_the_prompt_with_each_response(encoder_folder: Path, tmp_path: Path) -> None:
    group = PreferenceGroup(id="a", prompt=(Message("user", "x" * 50),), responses=("yes", "no"))
    for name in ("train", "validation"):
        write_groups(tmp_path / f"splits/{name}.jsonl.gz", [group])
    config = TokenizeConfig(
        backbone=str(encoder_folder), pooling="mean", prompt_limit=300, response_limit=200, token_budget=100
    )
    with pytest.raises(ValueError, match=r"group 'a' takes 1\d\d tokens, the budget is 100"):
        tokenize(config, tmp_path / "splits", tmp_path / "tokens")


def test_limits_beyond_the_backbone_are_refused(splits: Path, tmp_path: Path) -> None:
    config = TokenizeConfig(backbone="tiny", prompt_limit=2000, response_limit=100)
    with pytest.raises(ValueError, match="lower the limits"):
        tokenize(config, splits, tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()
