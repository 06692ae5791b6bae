"""Reward models that are not ours, the leaderboard, and benchmarks' rules, through the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rewardlab.files import read_groups, read_json, write_groups
from rewardlab.layout import report_file
from steps.registry.client import connect
from tests.command import rewardlab


@pytest.fixture(scope="module")
def classifier(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a sequence classifier of one logit, as other trainers leave it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("foreign")
    torch.manual_seed(3)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_folder)  # type: ignore[no-untyped-call]
    model: Any = AutoModelForSequenceClassification.from_pretrained(tiny_folder, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_classifier_of_one_logit_is_measured(classifier: Path, splits: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    few = list(read_groups(splits / "test.jsonl.gz"))[:4]
    write_groups(tmp_path / "few.jsonl.gz", few)
    target = tmp_path / "out.json"
    done = rewardlab("evaluate", "--model", classifier, "--data", tmp_path / "few.jsonl.gz", "--json", target)
    found = read_json(target)
    tokenizer: Any = AutoTokenizer.from_pretrained(classifier)  # type: ignore[no-untyped-call]
    model: Any = AutoModelForSequenceClassification.from_pretrained(classifier)
    rewards = []
    for group in few:
        turns = [{"role": turn.role, "content": turn.content} for turn in group.prompt]
        for response in group.responses:
            talk = [*turns, {"role": "assistant", "content": response}]
            ids = tokenizer(tokenizer.apply_chat_template(talk, tokenize=False), return_tensors="pt")
            rewards.append(model(**ids).logits.item())
    assert (done.code, found["model"], found["drift"]) == (0, str(classifier), None)
    assert (found["rewards"]["min"], found["rewards"]["max"]) == pytest.approx((min(rewards), max(rewards)), abs=1e-5)


def test_a_classifier_of_two_logits_is_no_reward_model(tiny_folder: Path, splits: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model: Any = AutoModelForSequenceClassification.from_pretrained(tiny_folder, num_labels=2)
    model.save_pretrained(tmp_path / "two")
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path / "two")  # type: ignore[no-untyped-call]
    done = rewardlab("evaluate", "--model", tmp_path / "two", "--data", splits / "test.jsonl.gz")
    assert (done.code, "a reward model has one logit" in done.complaint) == (1, True)


def test_the_leaderboard_holds_every_version(versions: None, splits: Path, tmp_path: Path) -> None:
    few = list(read_groups(splits / "test.jsonl.gz"))[:20]
    write_groups(tmp_path / "few.jsonl.gz", few)
    done = rewardlab("leaderboard", "--data", tmp_path / "few.jsonl.gz", "--json", tmp_path / "out.json")
    rows = read_json(tmp_path / "out.json")
    assert (done.code, [row["version"] for row in rows], [row["looks"] for row in rows]) == (0, ["1", "2"], [1, 2])
    assert rows[0]["difference"] is None
    gain = rows[1]["accuracy"]["value"] - rows[0]["accuracy"]["value"]
    assert rows[1]["difference"]["value"] == pytest.approx(gain)
    recorded = rewardlab("leaderboard")
    assert (recorded.code, "no report is kept" in recorded.out) == (0, True)


def test_the_leaderboard_names_a_report_that_it_cannot_read(versions: None) -> None:
    client = connect()
    kept = str(client.get_model_version("reward-model", "1").run_id)
    client.log_text(kept, '{"model": "reward-model/1"}', report_file("evaluation"))
    done = rewardlab("leaderboard")
    assert (done.code, "cannot be read: Evaluation needs" in done.out, "no report is kept" in done.out) == (
        0,
        True,
        True,
    )


def test_a_rule_is_named_or_recognised(tiny_bundle: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{at}", "chosen": "yes", "rejected": "no", "subset": "honest", "source": "hhh"} for at in range(4)
    ]
    from tests.command import write_lines

    data = write_lines(tmp_path / "rows.jsonl", rows)
    found = []
    for options in ((), ("--rule", "judgebench")):
        rewardlab("evaluate", "--model", tiny_bundle, "--data", data, "--json", tmp_path / "out.json", *options)
        found.append(read_json(tmp_path / "out.json")["benchmark"]["rule"])
    assert found == ["hhh", "judgebench"]
    assert rewardlab("evaluate", "--data", data, "--rule", "x").code == 2
