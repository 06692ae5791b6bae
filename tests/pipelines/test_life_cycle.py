"""The steps are listed once, and everything that names them follows."""

import ast
import configparser
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines import pipeline
from pipelines.code_digest import ROOT
from pipelines.ir import GOLDEN, read_ir
from pipelines.life_cycle import STEPS
from pipelines.local.run import Source, pipeline_arguments
from pipelines.pipeline import reward_model
from pipelines.profiles import PROFILES, Placement, Profile
from pipelines.recipes import CONFIGURED, recipe
from steps.report import Record

ROOMS = ("rewardlab", "models", "synthetic", "steps", "components", "pipelines", "commands", "serving")
MANY = 5
"""So many names of steps in one collection are a list of the steps, not a choice of some."""


def step_lists(text: str) -> Iterator[int]:
    """Yield the lines on which a collection of constants lists many of the steps."""
    for node in ast.walk(ast.parse(text)):
        items: list[Any] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            items = node.elts
        elif isinstance(node, ast.Dict):
            items = node.keys
        names = {item.value for item in items if isinstance(item, ast.Constant)}
        if len(names & {*STEPS}) >= MANY:
            yield node.lineno


def dags() -> Iterator[dict[str, Any]]:
    """Yield the tasks of the compiled pipeline and of each part of it that has tasks of its own."""
    ir = read_ir(GOLDEN)[0]
    for part in (ir["root"], *ir["components"].values()):
        yield part.get("dag", {}).get("tasks", {})


def test_no_other_place_lists_the_steps() -> None:
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    lists = [
        (path.relative_to(ROOT).as_posix(), line) for path in files for line in step_lists(path.read_text("utf-8"))
    ]
    assert [path for path, _ in lists] == ["pipelines/life_cycle.py"]


@pytest.mark.parametrize("text", [f"_STEPS = {STEPS[:MANY]}", f"TABLE = {dict.fromkeys(STEPS[3:9], '')}"])
def test_a_second_list_is_seen(text: str) -> None:
    assert list(step_lists(f"import os\n{text}\n")) == [2]


def test_the_tasks_of_the_pipeline_are_the_steps_in_their_order() -> None:
    tasks = {name: task for dag in dags() for name, task in dag.items()}
    assert {*STEPS} == {name for name in tasks if f"exec-{name}" in read_ir(GOLDEN)[0]["deploymentSpec"]["executors"]}
    for name in STEPS[:-1]:  # `report` is the exit handler: it waits for all
        waits_for = {*tasks[name].get("dependentTasks", ())} & {*STEPS}
        assert waits_for <= {*STEPS[: STEPS.index(name)]}, name


def test_the_parameters_of_the_pipeline_follow_the_order() -> None:
    settings = [name.removesuffix("_settings") for name in inspect.signature(reward_model).parameters if "_set" in name]
    assert settings == [step for step in STEPS if step != "promote"]  # which is told everything by `register`
    arguments = pipeline_arguments(recipe("smoke"), Source(), run_id="r", run_folder="")
    assert {name.removesuffix("_settings") for name in arguments if name.endswith("_settings")} == {*settings}


def test_every_step_has_a_module_and_a_component_of_its_name() -> None:
    for step in STEPS:
        assert (ROOT / "steps" / f"{step}.py").is_file() or (ROOT / "steps" / step / "__init__.py").is_file()
        assert getattr(pipeline, step).python_func.__module__.startswith("components.")
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter", encoding="utf-8")
    independent = config["importlinter:contract:steps"]["modules"].split()
    assert {f"steps.{step}" for step in STEPS} <= {*independent}


def test_every_component_says_why_it_fails() -> None:
    executors = read_ir(GOLDEN)[0]["deploymentSpec"]["executors"]
    for step in STEPS:
        assert "with recorded():" in executors[f"exec-{step}"]["container"]["command"][-1]


def test_a_recipe_configures_steps_and_a_profile_places_them() -> None:
    assert STEPS[2:11] == CONFIGURED
    assert {step for name in PROFILES for step in PROFILES[name]().steps} <= {*STEPS}
    with pytest.raises(ValueError, match="there is no step trian"):
        Profile(name="mine", steps={"trian": Placement()})


def test_the_page_knows_every_report() -> None:
    from rewardlab.layout import REPORTS

    assert {"summary", *REPORTS} == {*Record.__dataclass_fields__}
