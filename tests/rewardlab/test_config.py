from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardlab.config import Config, canonical_json, settings_config, settings_json
from rewardlab.home import webhook_secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner(Config):
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer(Config):
    name: str
    kind: Literal["a", "b"] = "a"
    count: int = 1
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    maybe: str | None = None
    free: dict[str, Any] = field(default_factory=dict)


@given(st.builds(Outer, name=st.text(), count=st.integers(), inner=st.builds(Inner, rate=st.floats(0, 1))))
def test_json_round_trip(config: Outer) -> None:
    assert Outer.from_json(config.to_json()) == config


def test_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="Outer has no 'nmae'"):
        Outer.from_dict({"name": "x", "nmae": "y"})


def test_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match="Outer needs 'name'"):
        Outer.from_dict({})


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", 1.5), ("count", True), ("kind", "c"), ("inner", {"rate": "fast"}), ("many", [3]), ("name", None)],
)
def test_wrong_type_names_the_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"(?i){field}"):
        Outer.from_dict({"name": "x", field: value})


def test_a_free_dictionary_is_taken_as_it_is() -> None:
    assert Outer.from_dict({"name": "x", "free": {"a": [1, None]}}).free == {"a": [1, None]}


def test_an_integer_is_a_float() -> None:
    assert Inner.from_json('{"rate": 1}').rate == 1.0


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": float("nan")})


def test_settings_carry_config_and_overrides() -> None:
    text = settings_json(Outer(name="x"), "digest")
    assert settings_config(Outer, text, name="y") == Outer(name="y")


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    assert webhook_secret({"REWARDLAB_WEBHOOK_SECRET": 16 * "x"}) == 16 * "x"
    for environment in ({}, {"REWARDLAB_WEBHOOK_SECRET": 15 * "x"}):
        with pytest.raises(ValueError, match="at least 16 characters"):
            webhook_secret(environment)
