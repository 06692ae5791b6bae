"""What is written about the server: the dashboard and the alert rules name what there is."""

import json
import re
from pathlib import Path

import pytest
import yaml

from rewardlab.bundle import Bundle
from rewardlab.engine import Engine
from serving.limits import Limits
from serving.loaded_model import LoadedModel
from serving.scorer import Scorer

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def metrics(tiny_bundle: Path) -> set[str]:
    scorer = Scorer(LoadedModel.of(Engine(Bundle.open(tiny_bundle), threads=1), name="a", version="1"), Limits())
    scorer.metrics.request("native", 200, 0.1)
    return set(re.findall(r"^(rewardlab_\w+)", scorer.measured().decode(), re.MULTILINE))


@pytest.mark.parametrize("file", ["dashboard.json", "alerts.yaml"])
def test_every_metric_that_is_asked_for_is_one_that_the_server_has(file: str, metrics: set[str]) -> None:
    asked = set(re.findall(r"rewardlab_\w+", (MONITORING / file).read_text(encoding="utf-8")))
    assert asked - metrics == set()
    assert len(asked) > 5


def test_the_dashboard_shows_every_metric_of_the_server(metrics: set[str]) -> None:
    shown = re.findall(r"rewardlab_\w+", (MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in metrics if not name.endswith("_created")}
    assert named == {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}


def test_dashboard_and_rules_are_whole() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert all(panel["title"] and panel["targets"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["spec"]["groups"][0]["rules"]
    assert all({"alert", "expr", "labels", "annotations"} <= set(rule) for rule in rules)
