"""`rewardlab monitor`: a log like the calibration split holds, and each way of going wrong is caught."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from rewardlab.files import read_groups, read_json
from tests.command import rewardlab, write_lines


@pytest.fixture(scope="module")
def log(tiny_bundle: Path, splits: Path) -> list[dict[str, Any]]:
    """Return the calibration groups, scored, in a seeded order."""
    bundle = Bundle.open(tiny_bundle)
    groups = list(read_groups(splits / "calibration.jsonl.gz"))
    scores = Engine(bundle).score_many([(group.prompt, group.responses) for group in groups])
    rows = [
        {
            "rewards": list(each.rewards),
            "truncated": list(each.truncated),
            "model": bundle.label,
            "prompt": [{"role": turn.role, "content": turn.content} for turn in group.prompt],
            "responses": list(group.responses),
            "subset": group.subset,
        }
        for group, each in zip(groups, scores, strict=True)
    ]
    return [rows[at] for at in np.random.default_rng(0).permutation(len(rows))]


def watched(rows: list[dict[str, Any]], bundle: Path, folder: Path) -> tuple[int, dict[str, Any]]:
    log, page, out = write_lines(folder / "log.jsonl", rows), folder / "page.html", folder / "out.json"
    done = rewardlab("monitor", "--log", log, "--model", bundle, "--page", page, "--json", out)
    assert "<script" not in page.read_text()
    return done.code, read_json(out)


def broken(result: dict[str, Any]) -> list[str]:
    return [check["name"] for check in result["checks"] if check["holds"] is False]


def test_what_the_bundle_was_sealed_with_holds(log: list[dict[str, Any]], tiny_bundle: Path, tmp_path: Path) -> None:
    code, result = watched(log, tiny_bundle, tmp_path)
    assert (code, broken(result)) == (0, [])
    whole = next(check for check in result["checks"] if check["name"].startswith("all rewards: pop"))
    assert whole["found"] == pytest.approx(0.0, abs=0.05)


def test_a_shift_is_caught(log: list[dict[str, Any]], tiny_bundle: Path, tmp_path: Path) -> None:
    sd = Bundle.open(tiny_bundle).calibration.sd
    moved = [{**row, "rewards": [reward + 2 * sd for reward in row["rewards"]]} for row in log]
    code, result = watched(moved, tiny_bundle, tmp_path)
    assert code == 1
    assert {"all rewards: population stability index", "all rewards: gain of the mean, in s.d."} <= set(broken(result))


def test_a_sudden_gain_is_caught(log: list[dict[str, Any]], tiny_bundle: Path, tmp_path: Path) -> None:
    sd, half = Bundle.open(tiny_bundle).calibration.sd, len(log) // 2
    late = [{**row, "rewards": [reward + 3 * sd for reward in row["rewards"]]} for row in log[half:]]
    assert "sudden gain, in s.d." in broken(watched([*log[:half], *late], tiny_bundle, tmp_path)[1])


def test_truncation_and_length_are_caught(log: list[dict[str, Any]], tiny_bundle: Path, tmp_path: Path) -> None:
    cut = [{**row, "truncated": [True] * len(row["rewards"])} for row in log]
    assert "truncated responses" in broken(watched(cut, tiny_bundle, tmp_path)[1])
    sign = -1 if (Bundle.open(tiny_bundle).calibration.length_correlation or 0) > 0 else 1
    long = [{**row, "rewards": [sign * 1e-3 * len(text) for text in row["responses"]]} for row in log]
    assert "length correlation" in broken(watched(long, tiny_bundle, tmp_path)[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "another/1"}, "line 1 is no score: it was given by another/1"),
        ({"rewards": "x"}, "line 1 is no score"),
        ({"rewards": [float("nan")] * 4}, "not finite"),
    ],
)
def test_what_is_no_log_of_this_model_is_refused(
    change: dict[str, Any], message: str, log: list[dict[str, Any]], tiny_bundle: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "log.jsonl", [{**log[0], **change}, *log[1:]])
    done = rewardlab("monitor", "--log", path, "--model", tiny_bundle, "--page", tmp_path / "page.html")
    assert (done.code, message in done.complaint, (tmp_path / "page.html").exists()) == (1, True, False)


def test_few_rewards_are_not_judged(log: list[dict[str, Any]], tiny_bundle: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", log[:3])
    done = rewardlab("monitor", "--log", path, "--model", tiny_bundle)
    assert "50 are the least that can be judged" in done.complaint
