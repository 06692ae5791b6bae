"""The JSON schemas of reports, made from their types: `python -m tests.golden_schemas`, which `make golden` calls."""

import builtins
import collections.abc
import dataclasses
import inspect
import json
import types
import typing
from pathlib import Path
from typing import Any

from rewardlab.config import Config, is_optional
from rewardlab.reports import BenchmarkEvaluation, Summary

FOLDER = Path(__file__).parents[1] / "rewardlab" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
PLAIN: dict[type, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    object: {},
}


def schemas() -> dict[str, Schema]:
    """Return the schemas by their names."""
    definitions: Schema = {}
    measured = object_schema(BenchmarkEvaluation, definitions)
    evaluation = {
        "$schema": DIALECT,
        "title": "Evaluation of a reward model",
        "description": "What `rewardlab evaluate --json` writes.",
        **measured,
        "$defs": definitions,
    }
    ended = object_schema(Summary, {})
    own = {name: value for name, value in ended["properties"].items() if name not in measured["properties"]}
    summary = {
        "$schema": DIALECT,
        "title": "Summary of a run",
        "description": "`runs/ID/summary.json`: an evaluation, which a failed run may lack, and what became of the "
        "candidate.",
        **ended,
        "properties": own,
        "if": {"properties": {"decision": {"const": "failed"}}, "required": ["decision"]},
        "else": {"required": measured["required"], "properties": measured["properties"]},
        "$defs": definitions,
    }
    return {"evaluation": evaluation, "summary": summary}


def object_schema(cls: type[Config], definitions: Schema) -> Schema:
    """Return the schema of a report; the reports in it are put among the definitions."""
    kinds, fields = typing.get_type_hints(cls, include_extras=True), dataclasses.fields(cls)
    required = [field.name for field in fields if not has_default(field)]
    properties = {field.name: schema(kinds[field.name], definitions, absent=is_optional(field)) for field in fields}
    return {"type": "object", **({"required": required} if required else {}), "properties": properties}


def has_default(field: "dataclasses.Field[Any]") -> bool:
    """Return whether a report may lack the field."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def schema(kind: Any, definitions: Schema, *, absent: bool = False) -> Schema:
    """Return the schema of an annotation; a field that may be `absent` is never null."""
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Annotated:
            made = schema(arguments[0], definitions, absent=absent) | said(arguments[1:])
        case typing.Literal:
            made = {"enum": list(arguments)}
        case typing.Union | types.UnionType:
            present = schema(next(each for each in arguments if each is not types.NoneType), definitions)
            made = present if absent else nullable(present)
        case builtins.tuple:
            made = array(arguments, definitions)
        case builtins.dict | collections.abc.Mapping:
            values = schema(arguments[1], definitions)
            made = {"type": "object", **({"additionalProperties": values} if values else {})}
        case _:
            made = PLAIN[kind] if kind in PLAIN else reference(kind, definitions)
    return made


def reference(kind: type[Config], definitions: Schema) -> Schema:
    """Return a reference to a report's schema among the definitions."""
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # its place, before those of the reports in it
        first, *_ = (inspect.getdoc(kind) or "").partition("\n\n")
        definitions[kind.__name__] = {"description": " ".join(first.split()), **object_schema(kind, definitions)}
    return {"$ref": f"#/$defs/{kind.__name__}"}


def said(notes: tuple[Any, ...]) -> Schema:
    """Return what an annotation says beside the type: a text is the description, else there are keywords."""
    found: Schema = {}
    for note in notes:
        found |= {"description": note} if isinstance(note, str) else dict(note)
    return found


def nullable(present: Schema) -> Schema:
    """Return a schema that takes null too."""
    if isinstance(present.get("type"), str) and "properties" not in present:
        return {**present, "type": [present["type"], "null"]}
    return {"anyOf": [present, {"type": "null"}]}


def array(arguments: tuple[Any, ...], definitions: Schema) -> Schema:
    """Return the schema of a tuple: of any length, or of one."""
    items = schema(arguments[0], definitions)
    if arguments[-1] is ...:
        return {"type": "array", "items": items}
    return {"type": "array", "items": items, "minItems": len(arguments), "maxItems": len(arguments)}


def text(made: Schema) -> str:
    """Return a schema as its file holds it."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def path(name: str) -> Path:
    """Return where the schema of a name is."""
    return FOLDER / f"{name}.schema.json"


def main() -> None:
    """Write the schemas."""
    for name, made in schemas().items():
        path(name).write_text(text(made), encoding="utf-8")


if __name__ == "__main__":
    main()
