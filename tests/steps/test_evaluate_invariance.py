"""An evaluation is the same whatever the order of the rows, what is scored together, and how many processes score."""

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import read_groups, read_json, write_groups
from rewardlab.groups import PreferenceGroup
from rewardlab.metrics import accuracy, labelled_pairs
from rewardlab.tokens import TreeTokenizer
from steps.evaluate.baselines import baselines
from steps.evaluate.evaluate import EvaluateConfig, Scored, described, evaluate, in_fixed_order, measure, scored_by

CONFIG = EvaluateConfig(name="m", num_policy=12)


@pytest.fixture(scope="module")
def groups(splits: Path) -> list[PreferenceGroup]:
    return in_fixed_order(read_groups(splits / "test.jsonl.gz"))


def run(bundle: Path, groups: list[PreferenceGroup], folder: Path) -> dict[str, Any]:
    folder.mkdir()
    write_groups(folder / "test.jsonl.gz", groups)
    evaluate(CONFIG, bundle, folder / "test.jsonl.gz", folder / "out.json")
    found: dict[str, Any] = read_json(folder / "out.json")
    return found


def score_alone(bundle: Path, groups: list[PreferenceGroup]) -> list[list[float]]:
    """Score each response with nothing beside it."""
    engine = Engine(Bundle.open(bundle))
    return [[engine.score(group.prompt, (text,)).rewards[0] for text in group.responses] for group in groups]


def test_the_order_of_the_rows_does_not_matter(
    tiny_bundle: Path, groups: list[PreferenceGroup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = random.Random(0).sample(groups, len(groups))
    found = []
    for name, rows in (("given", groups), ("shuffled", shuffled)):
        monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / f"home-{name}"))  # nothing that was kept is read
        found.append(run(tiny_bundle, rows, tmp_path / name))
    for each in found:
        each["data"].pop("md5")
        each.pop("test_digest")
    assert found[0] == found[1]
    assert found[0]["baselines"]["policy"]["num"] > 0


def test_what_is_scored_together_and_by_how_many_does_not_matter(
    tiny_bundle: Path, groups: list[PreferenceGroup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARDLAB_HOME", str(tmp_path / "home"))
    whole = scored_by(Bundle.open(tiny_bundle), groups)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        halves = list(pool.map(partial(score_alone, tiny_bundle), (groups[::2], groups[1::2])))
    rewards: list[list[float]] = [[] for _ in groups]
    rewards[::2], rewards[1::2] = halves
    scored = Scored(
        label=whole.label,
        digest=whole.digest,
        rewards=rewards,
        temperature=whole.temperature,
        reference=whole.reference,
        bundle=whole.bundle,
    )
    data = described(groups, path="test.jsonl.gz", md5="0" * 32)
    one, other = (measure(CONFIG, each, groups, data)[0] for each in (whole, scored))
    assert whole.rewards == rewards
    assert one == other


def test_the_policys_baseline_is_the_loss_that_transformers_gives(
    registry: Path, tiny_bundle: Path, tiny_folder: Path, groups: list[PreferenceGroup]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    bundle, few = Bundle.open(tiny_bundle), groups[:8]
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    reader = TreeTokenizer(tiny_bundle / "tokenizer.json", bundle.readout)
    totals, means = [], []
    for group in few:
        tree = reader.tree(group.prompt, group.responses)
        row = []
        for at, response in enumerate(tree.responses):
            labels = torch.tensor([[-100] * len(tree.prompt) + list(response)])
            loss = model(torch.tensor([tree.sequence(at)]), labels=labels).loss.item()
            row.append((-loss * len(response), -loss))
        totals.append([total for total, _ in row])
        means.append([mean for _, mean in row])
    found, note = baselines(few, bundle, num_policy=8)
    for name, values in (("policy", totals), ("policy_per_token", means)):
        measured, wanted = found[name], accuracy(labelled_pairs(few, values))
        assert measured is not None
        assert wanted is not None
        assert measured.to_dict() == pytest.approx(wanted.to_dict())
    assert note == ""


def test_a_policy_reads_the_same_texts_once(
    registry: Path, tiny_bundle: Path, groups: list[PreferenceGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.lm_likelihood import Policy

    bundle, few, asked = Bundle.open(tiny_bundle), groups[:8], []
    ask = Policy.log_probabilities
    monkeypatch.setattr(Policy, "log_probabilities", lambda self, tree: asked.append(tree) or ask(self, tree))
    found = [baselines(few, bundle, num_policy=num) for num in (8, 8, 5)]
    assert found[0] == found[1]
    assert len(asked) == 8 + 5


def test_why_there_is_no_policy_is_said(registry: Path, tiny_bundle: Path, groups: list[PreferenceGroup]) -> None:
    bundle = Bundle.open(tiny_bundle)
    encoder = {**bundle.manifest["model"], "backbone": "tiny-encoder"}
    gone = {**bundle.manifest["model"], "backbone": "no such backbone"}
    cases = {
        "an encoder gives texts no probability": (_with_model(bundle, encoder), groups, 4),
        "no backbone": (_with_model(bundle, gone), groups, 4),
        "not one of ours": (None, groups, 4),
        "not asked for": (bundle, groups, 0),
        "nothing is compared": (bundle, [], 4),
    }
    for note, (given, rows, num) in cases.items():
        found, why = baselines(rows, given, num_policy=num)
        assert note in why
        assert found["policy"] is found["policy_per_token"] is None


def _with_model(bundle: Bundle, model: dict[str, Any]) -> Bundle:
    return replace(bundle, manifest={**bundle.manifest, "model": model})


def test_a_policy_with_another_tokenizer_is_refused(tiny_folder: Path) -> None:
    from models.lm_likelihood import Policy

    with pytest.raises(ValueError, match="another tokenizer"):
        Policy(tiny_folder, tokenizer_digest="0" * 64)


def test_log_probabilities_are_below_zero(tiny_bundle: Path, tiny_folder: Path, groups: list[PreferenceGroup]) -> None:
    from models.lm_likelihood import Policy

    bundle = Bundle.open(tiny_bundle)
    tree = TreeTokenizer(tiny_bundle / "tokenizer.json", bundle.readout).tree(groups[0].prompt, groups[0].responses)
    found = Policy(tiny_folder, tokenizer_digest=bundle.readout.tokenizer_digest).log_probabilities(tree)
    assert [len(each) for each in found] == [len(each) for each in tree.responses]
    assert max(np.concatenate(found)) < 0
