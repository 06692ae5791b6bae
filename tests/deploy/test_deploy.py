"""The manifests of deploy/: every overlay renders, holds all rules, and is refused once it is wrong in one place."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.__main__ import main
from tests.manifests.checked import OVERLAYS, RULES, SHAPE, problems
from tests.manifests.manifests import Object, render

ROOT = Path(__file__).parents[2]
PARTS = [
    *sorted((ROOT / "deploy" / "base").glob("*/kustomization.yaml")),
    ROOT / "deploy/monitoring/kustomization.yaml",
]
BROKEN = {
    (rule, place, json.dumps(value)): (rule, place, value)
    for rule, all_ in yaml.safe_load((Path(__file__).parents[1] / "broken_manifests.yaml").read_text("utf-8")).items()
    for each in all_
    for place, value in each.items()
}
TEMPLATE = "inference-service.json"


@cache
def rendered(overlay: str) -> str:
    return json.dumps(render(ROOT / "deploy" / "overlays" / overlay))


def with_object(name: str) -> list[Object]:
    """Return an overlay that has an object: production, or local where production has it not."""
    for overlay in ("production", "local"):
        made: list[Object] = json.loads(rendered(overlay))
        if name.startswith(("+", "InferenceService")) or any(_is(each, name) for each in made):
            return made
    raise AssertionError(f"no overlay has {name}")


def _is(each: Object, name: str) -> bool:
    return f"{each['kind']}/{each['metadata']['name']}" == name


def break_(objects: list[Object], place: str, value: Any) -> None:
    """Change objects in one place."""
    name, *keys = place.split()
    if name == "+":
        objects.append(value)
    elif name.startswith("InferenceService"):
        data = next(each["data"] for each in objects if TEMPLATE in each.get("data", {}))
        made = json.loads(data[TEMPLATE])
        put(made, keys, value)
        data[TEMPLATE] = json.dumps(made)
    else:
        put(objects, [str(next(at for at, each in enumerate(objects) if _is(each, name))), *keys], value)


def put(where: Any, keys: list[str], value: Any) -> None:
    """Put a value behind keys, or take it away where there is none."""
    key, *rest = keys
    at = index(where, key) if isinstance(where, list) else key
    if rest:
        put(where[at], rest, value)
    elif key == "+":
        where.append(value)
    elif value is None:
        del where[at]
    else:
        where[at] = value


def index(items: list[Any], key: str) -> int:
    if key == "+" or key.isdecimal():
        return len(items) if key == "+" else int(key)
    return next(
        at
        for at, each in enumerate(items)
        if (each.startswith(key) if isinstance(each, str) else each.get("name") == key)
    )


def test_deploy_holds_no_python() -> None:
    assert [*(ROOT / "deploy").rglob("*.py")] == []


@pytest.mark.parametrize("overlay", [path.name for path in OVERLAYS])
def test_an_overlay_holds_all_rules(overlay: str) -> None:
    assert problems(json.loads(rendered(overlay))) == {}


def test_there_are_three_overlays_and_what_they_share_renders_alone() -> None:
    assert [path.name for path in OVERLAYS] == ["local", "production", "staging"]
    assert len(PARTS) == 7
    for part in PARTS:
        assert problems(render(part.parent)).keys().isdisjoint({SHAPE})


@pytest.mark.parametrize("key", BROKEN, ids=lambda key: f"{key[1]}: {key[2]}")
def test_a_broken_manifest_is_refused_by_its_rule(key: tuple[str, str, str]) -> None:
    rule, place, value = BROKEN[key]
    made = with_object(place.split()[0])
    break_(made, place, copy.deepcopy(value))
    assert rule in problems(made)


def test_every_rule_refuses_something() -> None:
    assert {rule for rule, _, _ in BROKEN} == {*RULES, SHAPE}
    assert len(BROKEN) >= 50


def test_the_command_names_rule_and_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    meta = {"name": "a", "namespace": "rewardlab"}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": meta}))
    assert main([str(tmp_path)]) == 1
    assert "a secret is in git: Secret/a" in capsys.readouterr().out
    assert main([str(tmp_path / "missing")]) == 2
    assert main([str(OVERLAYS[0])]) == 0
    assert "hold all rules" in capsys.readouterr().out
