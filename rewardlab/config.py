"""Typed configuration: frozen dataclasses that cross process borders as canonical JSON."""

import builtins
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Base of every configuration.

    Example:
        >>> @dataclass(frozen=True, kw_only=True, slots=True)
        ... class Split(Config):
        ...     test_share: float = 0.1
        >>> Split.from_json('{"test_share": 0.2}').to_json()
        '{"test_share":0.2}'
    """

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, nested configurations included, as plain JSON values."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no blanks, no NaN."""
        return canonical_json(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the configuration, refusing unknown keys and values of the wrong type.

        Raises:
            ValueError: a key is unknown or a value does not fit its field.
        """
        known = _types(cls)  # type: ignore[arg-type] # a class can be hashed, which mypy doubts here
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise ValueError(f"{cls.__name__} has no {', '.join(map(repr, unknown))}; it has {', '.join(names)}")
        missing = sorted(
            field.name
            for field in dataclasses.fields(cls)
            if field.name not in values
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        )
        if missing:
            raise ValueError(f"{cls.__name__} needs {', '.join(map(repr, missing))}")
        return cls(**{name: _typed(values[name], known[name], f"{cls.__name__}.{name}") for name in values})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Build the configuration from `to_json` text."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"{cls.__name__} is read from a JSON object, got {text[:80]!r}")
        return cls.from_dict(values)


C = TypeVar("C", bound=Config)

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: equal values give equal bytes.

    Raises:
        ValueError: the value holds NaN or infinity.
    """
    return _CANONICAL.encode(value)


def settings_json(config: Config, source_digest: str) -> str:
    """Return what a pipeline step is started with: its configuration and the digest of the code that will run it."""
    return canonical_json({"config": config.to_dict(), "source_digest": source_digest})


def settings_config(cls: type[C], settings: str, **overrides: Any) -> C:
    """Return the configuration inside `settings_json` text, with fields that only the running pipeline knows."""
    return cls.from_dict({**json.loads(settings)["config"], **overrides})


@functools.cache
def _types(cls: type[Config]) -> Mapping[str, object]:
    """Return the types of a configuration's fields; they are worked out once, which takes longer than all else."""
    return typing.get_type_hints(cls)


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _typed(value: Any, kind: Any, where: str) -> Any:
    """Convert a JSON value to the annotated type, or say where it does not fit."""
    if kind is Any:
        return value
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Literal if value in arguments:
            return value
        case typing.Union | types.UnionType:
            present = next(argument for argument in arguments if argument is not type(None))
            return None if value is None else _typed(value, present, where)
        case builtins.tuple if isinstance(value, (list, tuple)):
            return tuple(_typed(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(value))
        case builtins.dict if isinstance(value, dict):
            return {key: _typed(item, arguments[1], f"{where}[{key!r}]") for key, item in value.items()}
        case None if isinstance(kind, type):
            return _plainly_typed(value, kind, where)
    raise ValueError(f"{where} is {kind}, got {value!r}")


def _plainly_typed(value: Any, kind: type, where: str) -> Any:
    if issubclass(kind, Config) and isinstance(value, Mapping):
        return kind.from_dict(value)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where} is a {kind.__name__}, got {value!r}")
