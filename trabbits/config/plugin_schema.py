"""Plugins in the JSON Schema: which there are, and the options of each.

Lives here: `add_plugins`.  Must not know: the rest of the configuration.

A plugin whose options cannot be described takes any.  What a plugin says of its options is believed: one whose
validators accept more than its types say is marked by editors where trabbits would not complain.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from trabbits.config.plugin_use import MechanismUse, PluginUse, PolicyUse, RewriterUse, RoutingUse, SelectorUse
from trabbits.failures import fence
from trabbits.plugins.catalogue import Found, discover

_USES: tuple[type[PluginUse], ...] = (RoutingUse, RewriterUse, SelectorUse, PolicyUse, MechanismUse)
#: The name may come from a variable, too.
_VARIABLE = {"pattern": r"\$\{"}


def add_plugins(sections: dict[str, Any], generator: type[GenerateJsonSchema]) -> None:
    """Describe the plugins in those of the definitions `sections` that are about them."""
    for use in _USES:
        section = sections[use.__name__]
        found = discover().of(use.provides)
        known = [{"const": each.name, "description": str(each.declaration.summary)} for each in found]
        section["properties"]["plugin"]["anyOf"] = [*known, dict(_VARIABLE)]
        conditions = [_condition(each, use, sections, generator) for each in found]
        section["allOf"] = [each for each in conditions if each]


def _condition(
    found: Found, use: type[PluginUse], sections: dict[str, Any], generator: type[GenerateJsonSchema]
) -> dict[str, Any]:
    """What holds where this plugin is named; nothing if it does not say."""
    place = _place(found, sections)
    try:
        with fence():
            schema = found.declaration.options.model_json_schema(
                ref_template=f"#/$defs/{place}.{{model}}", schema_generator=generator
            )
            json.dumps(schema)
    except Exception:  # of somebody else's code
        return {}
    for name, part in schema.pop("$defs", {}).items():
        # Plugins that combine others of their kind: editors complete those as well.
        is_use = part.get("properties", {}).keys() == {"plugin", "options"}
        sections[f"{place}.{name}"] = {"$ref": f"#/$defs/{use.__name__}"} if is_use else part
    sections[place] = schema
    then: dict[str, Any] = {"properties": {"options": {"$ref": f"#/$defs/{place}"}}}
    if schema.get("required"):
        then["required"] = ["options"]
    return {"if": {"properties": {"plugin": {"const": found.name}}, "required": ["plugin"]}, "then": then}


def _place(found: Found, sections: dict[str, Any]) -> str:
    """A key for its definition, which stands in references as it is."""
    plain = f"{found.kind}.{re.sub('[^A-Za-z0-9_-]', '_', found.name)}"
    number = sum(key == plain or key.startswith(f"{plain}-") for key in sections)
    return f"{plain}-{number}" if number else plain
