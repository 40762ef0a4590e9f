"""Whether plugins keep their promises: that their options can be described, and that what they make fits its interface.

Lives here: `check` and `option_rows`.  Must not know: what is configured, or how findings are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, frozen
from pydantic import ValidationError

from trabbits.failures import error_text, fence
from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.catalogue import Catalogue, Found, UnknownPlugin
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.verifying import misfit, verified

_DEPTH_LIMIT = 4


@frozen
class Checked:
    """What became of one plugin: `problem` is what is wrong with it, `untried` why not all could be seen."""

    problem: str = ""
    untried: str = ""


@frozen
class OptionRow:
    """One key of a plugin's options; `default` is JSON, empty if the key is required.

    Keys of the objects that it may hold follow, with a `depth` that is greater by 1.
    """

    key: str
    type: str
    default: str
    description: str
    depth: int = 0


def check(found: Found, catalogue: Catalogue, context: PluginContext) -> Checked:
    """Make one with default options, as far as there are such, and verify it.  Starts nothing."""
    declaration = found.declaration
    try:
        schema_of(found)
    except Exception as error:
        return Checked(f"its options cannot be described: {error_text(error)}")
    try:
        with fence():
            options = declaration.options.model_validate({}, context={"upstreams": context.upstreams})
    except ValidationError as error:
        keys = ", ".join(sorted({".".join(map(str, each["loc"])) or "some" for each in error.errors()}))
        return Checked(untried=f"not made: its options need {keys}")
    except Exception as error:  # a validator of somebody else
        return Checked(f"its options cannot be checked: {error_text(error)}")
    return check_made(found, catalogue, context, options)


def check_made(found: Found, catalogue: Catalogue, context: PluginContext, options: Any) -> Checked:
    """Make one with these options, and verify it."""

    def routing(name: str, raw: Mapping[str, Any]) -> Any:
        try:
            inner = catalogue.get(IRoutingStrategy, name)
        except UnknownPlugin as error:
            raise ValueError(f"expected {error}") from None
        validated = inner.options.model_validate(raw, context={"upstreams": context.upstreams})
        return verified(name, IRoutingStrategy, inner.make(validated, complete))

    complete = evolve(context, reactor=None, routing=routing)
    try:
        with fence():
            made = found.declaration.make(options, complete)
    except ValueError as error:  # as the contract has it
        return Checked(untried=f"not made: {' '.join(str(error).split())}")
    except Exception as error:
        return Checked(f"it cannot be made: {error_text(error)}")
    wrong = misfit(found.declaration.provides, made)
    return Checked(f"what it makes is wrong: {wrong}" if wrong else "")


def schema_of(found: Found) -> dict[str, Any]:
    """The JSON Schema of its options.  Somebody else's code: raises whatever Exception it likes."""
    with fence():
        schema: dict[str, Any] = found.declaration.options.model_json_schema()
    return schema


def option_rows(schema: Mapping[str, Any]) -> Iterator[OptionRow]:
    """The options of a JSON Schema, one by one, those inside of options included."""
    yield from _rows(schema, schema.get("$defs", {}), ())


def _rows(schema: Mapping[str, Any], definitions: Mapping[str, Any], around: tuple[Any, ...]) -> Iterator[OptionRow]:
    """Those of an object inside of the objects `around`; one that is inside of itself is told of once."""
    required = schema.get("required", [])
    for key, value in schema.get("properties", {}).items():
        if key in required:
            default = ""
        elif "default" in value:
            default = json.dumps(value["default"], ensure_ascii=False)
        else:  # one that a factory makes
            default = "…"
        description = " ".join(str(value.get("description", "")).split())
        yield OptionRow(key, _type(value, definitions), default, description, len(around))
        if len(around) == _DEPTH_LIMIT:
            continue
        for inner in _objects(value, definitions):
            if not any(inner is each for each in (schema, *around)):
                yield from _rows(inner, definitions, (*around, schema))


def _objects(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The kinds of objects with keys of their own in what a schema allows, looked for as `_type` does."""
    if not isinstance(schema, dict) or depth > _DEPTH_LIMIT:
        return
    if reference := schema.get("$ref"):
        yield from _objects(definitions.get(str(reference).rpartition("/")[2]), definitions, depth + 1)
    elif several := schema.get("anyOf") or schema.get("oneOf"):
        for each in several:
            yield from _objects(each, definitions, depth + 1)
    elif schema.get("properties"):
        yield schema
    else:
        for inside in ("items", "additionalProperties"):
            yield from _objects(schema.get(inside), definitions, depth + 1)


def _type(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> str:
    """A type in words, such as ``list of string``."""
    if not isinstance(schema, dict) or depth > _DEPTH_LIMIT:
        return "any"
    if reference := schema.get("$ref"):
        return _type(definitions.get(str(reference).rpartition("/")[2]), definitions, depth + 1)
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        return " or ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            names = dict.fromkeys(_type(each, definitions, depth + 1) for each in schema[several])
            return " or ".join(names)
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items'), definitions, depth + 1)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'], definitions, depth + 1)}"
    if kind == "object" and schema.get("properties"):
        return f"{{{', '.join(schema['properties'])}}}"
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
