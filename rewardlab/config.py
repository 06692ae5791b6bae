"""Typed configuration: frozen dataclasses that cross process borders as canonical JSON."""

import builtins
import collections.abc
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeVar


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
        """Return the fields, nested configurations included, as plain JSON values; see `optional`."""
        values = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or not is_optional(field):
                values[field.name] = _plain(value)
        return values

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

    @classmethod
    def extending(cls, base: "Config", **more: Any) -> Self:
        """Return a configuration with the fields of one of its base class, and more."""
        return cls(**{field.name: getattr(base, field.name) for field in dataclasses.fields(base)}, **more)


def schema(**keywords: Hashable) -> tuple[tuple[str, Hashable], ...]:
    """Return what the JSON schema of a report says of a value beside its type; reading a report does not check it."""
    return tuple(keywords.items())


Share = Annotated[float, schema(minimum=0, maximum=1)]
Change = Annotated[float, schema(minimum=-1, maximum=1)]
Amount = Annotated[float, schema(minimum=0)]
Count = Annotated[int, schema(minimum=0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report(Config):
    """Base of every document that is written for programs and read again, maybe by another version of this code.

    Example:
        >>> @dataclass(frozen=True, kw_only=True, slots=True)
        ... class Loss(Report):
        ...     value: float
        ...     step: int | None = optional()
        >>> Loss.from_dict({"value": 0.5, "added_later": True}).to_json()
        '{"value":0.5}'
    """

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the report, skipping keys that it does not know and refusing values of the wrong type.

        Raises:
            ValueError: a key is missing or a value does not fit its field.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return super(Report, cls).from_dict({name: value for name, value in values.items() if name in names})


_OPTIONAL = "optional"


def optional() -> Any:
    """Return the default of a field whose key is left out where the field is None.

    Any other field that is None is written as null.
    """
    return dataclasses.field(default=None, metadata={_OPTIONAL: True})


def is_optional(field: "dataclasses.Field[Any]") -> bool:
    """Return whether a field's key is left out where it is None."""
    return _OPTIONAL in field.metadata


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
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _typed(value: Any, kind: Any, where: str) -> Any:
    """Convert a JSON value to the annotated type, or say where it does not fit."""
    if kind in (Any, object):
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
        case builtins.dict | collections.abc.Mapping if isinstance(value, Mapping):
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
