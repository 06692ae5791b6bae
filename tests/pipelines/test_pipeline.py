"""The compiled pipeline: what is committed is what is compiled, and it promotes on a bool alone."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components import IMAGE
from pipelines.ir import GOLDEN, compile_pipeline, ir_digest, read_ir
from pipelines.local.run import Source, pipeline_arguments
from pipelines.recipes import RECIPES, recipe


@pytest.fixture(scope="module")
def ir() -> dict[str, Any]:
    return read_ir(GOLDEN)[0]


def tasks(ir: dict[str, Any]) -> dict[str, Any]:
    parts = [ir["root"], *ir["components"].values()]
    return {name: task for part in parts for name, task in part.get("dag", {}).get("tasks", {}).items()}


def test_the_golden_ir_is_what_compiles(tmp_path: Path) -> None:
    compile_pipeline(tmp_path / "ir.yaml")
    assert read_ir(tmp_path / "ir.yaml") == read_ir(GOLDEN), "run `make golden` if the change is meant"
    assert ir_digest(tmp_path / "ir.yaml") == ir_digest()


def test_the_ir_is_a_valid_pipeline_spec(ir: dict[str, Any]) -> None:
    json_format.ParseDict(ir, pipeline_spec_pb2.PipelineSpec())


def test_every_step_is_there(ir: dict[str, Any]) -> None:
    names = "resolve fetch ingest validate split tokenize train export evaluate audit gate register promote report"
    assert set(names.split()) <= set(tasks(ir))


def test_the_only_condition_is_a_bool(ir: dict[str, Any]) -> None:
    conditions = [task["triggerPolicy"].get("condition") for task in tasks(ir).values() if "triggerPolicy" in task]
    assert [text for text in conditions if text] == ["inputs.parameter_values['pipelinechannel--gate-Output'] == true"]


def test_what_depends_on_the_moment_is_never_cached(ir: dict[str, Any]) -> None:
    fresh = {name for name, task in tasks(ir).items() if task.get("cachingOptions", {}).get("enableCache") is not True}
    assert {"resolve", "register", "promote", "report"} <= fresh


def test_promotion_waits_for_the_condition(ir: dict[str, Any]) -> None:
    inside = [name for name, part in ir["components"].items() if "promote" in part.get("dag", {}).get("tasks", {})]
    assert len(inside) == 1
    assert inside[0].startswith("comp-condition")


def test_no_component_installs_anything() -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    assert "pip install" not in text
    assert ":latest" not in text
    assert text.count(f"image: {IMAGE}") == text.count("image: ")


@pytest.mark.parametrize("name", RECIPES)
def test_arguments_cover_every_parameter(name: str, ir: dict[str, Any], tmp_path: Path) -> None:
    arguments = pipeline_arguments(recipe(name), Source(), run_id="r", run_folder=str(tmp_path))
    assert set(arguments) == set(ir["root"]["inputDefinitions"]["parameters"])


def test_a_run_without_the_cache_goes_on_from_no_other_training(tmp_path: Path) -> None:
    def settings(*, resume: bool) -> str:
        place = {"run_id": "r", "run_folder": str(tmp_path)}
        return pipeline_arguments(recipe("smoke"), Source(), **place, resume=resume)["train_settings"]

    assert settings(resume=True) == settings(resume=True)
    assert len({settings(resume=False), settings(resume=False), settings(resume=True)}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.epoch": 2}, "no setting 'train.epoch'"),
        ({"nothing.at": 2}, "no setting 'nothing.at'"),
        ({"train.epochs": "two"}, "epochs"),
        ({"train.epochs": 0}, "at least 1"),
        ({"token_budget": 0}, "token_budget is at least 1, got 0"),
        ({"train.parallel": "fsdp"}, "there is nothing to shard over"),
        ({"gate.drift": {"anchor": "m/3"}, "evaluate.anchor": "3"}, "leave evaluate.anchor out, it follows"),
        ({"gate.drift": {"anchor": "m/3"}, "evaluate.anchor": "models:/m/4"}, "gate.drift.anchor is 'm/3' and"),
        ({"gate.drift": {"anchor": "m/champion"}}, "a version that stays"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe("smoke", settings)
