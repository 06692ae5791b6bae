from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardlab.config import Config, Report, canonical_json, optional, settings_config, settings_json
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate(Report):
    rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Larger(Rate):
    unit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Found(Report):
    inner: Rate
    seen: Mapping[str, object]
    maybe: int | None = None
    note: str | None = optional()


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


def test_a_report_skips_what_it_does_not_know_and_a_configuration_does_not() -> None:
    found = Found.from_dict({"inner": {"rate": 1, "unit": "s"}, "seen": {"a": [True, 2]}, "added_later": 1})
    assert found == Found(inner=Rate(rate=1.0), seen={"a": [True, 2]})
    with pytest.raises(ValueError, match="Found needs 'inner', 'seen'"):
        Found.from_dict({"more": 3})
    with pytest.raises(ValueError, match=r"Found\.seen"):
        Found.from_dict({"inner": {"rate": 1.0}, "seen": [1]})


def test_only_an_optional_key_is_left_out() -> None:
    found = Found(inner=Rate(rate=0.5), seen={})
    assert found.to_dict() == {"inner": {"rate": 0.5}, "seen": {}, "maybe": None}
    assert Found.from_dict(found.to_dict()) == found
    assert Found(inner=Rate(rate=0.5), seen={}, note="x").to_dict()["note"] == "x"


def test_a_larger_report_extends_a_smaller_one() -> None:
    larger = Larger.extending(Rate(rate=0.5), unit="s")
    assert (larger.rate, larger.unit) == (0.5, "s")


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
