"""The configuration as a JSON Schema (draft 2020-12), for editors that complete and check while one types.

Lives here: `json_schema`.  Must not know: how configurations are read.

Whatever loads is valid here.  Not everything that is valid here loads: unique names, for example, are beyond
what a JSON Schema can say.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from trabbits.config.durations import EXAMPLES, format_duration
from trabbits.config.model import (
    AdminConfig,
    AuthenticationConfig,
    ClusterConfig,
    Config,
    HealthCheckConfig,
    MappedCredentialsConfig,
    NodeConfig,
    TlsConfig,
    UpstreamConfig,
)
from trabbits.config.plugin_schema import add_plugins

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NOT_NULL = {"not": {"type": "null"}}
#: What bounds a text; with a variable in it, as ``"${HOST}:5672"``, it says nothing about the text as written.
_TEXT_BOUNDS = ("pattern", "minLength", "maxLength", "enum", "const")
_VARIABLE = {"pattern": r"\$\{"}


def json_schema() -> dict[str, Any]:
    """The schema as plain JSON values, with the options of all plugins that are installed."""
    schema = Config.model_json_schema(by_alias=False, schema_generator=Untitled)
    sections = schema["$defs"]
    properties = schema["properties"]
    older = {"description": "The older name of `handshake_timeout`.", "deprecated": True}
    properties["read_timeout"] = properties["handshake_timeout"] | older
    properties["$schema"] = {"type": "string", "description": "Where this schema is, for editors; ignored."}
    schema["not"] = {"required": ["handshake_timeout", "read_timeout"]}
    sections[UpstreamConfig.__name__]["oneOf"] = [_has("address"), _has("cluster")]
    sections[HealthCheckConfig.__name__]["anyOf"] = [
        {"required": ["enabled"], "properties": {"enabled": {"const": False}}},
        _has("username", "password"),
    ]
    without_port = {"properties": {"listen": {"type": "null"}}}
    sections[AdminConfig.__name__]["anyOf"] = [without_port, _has("token")]
    sections[MappedCredentialsConfig.__name__] |= {
        "oneOf": [_has("password"), _has("password_file")],
        "not": _has("client_password", "client_password_file"),
    }
    without_certificates = {"properties": {"client_certificate": {"type": "null"}}}
    sections[TlsConfig.__name__]["anyOf"] = [without_certificates, _has("client_ca")]
    nodes = sections[ClusterConfig.__name__]["properties"]["nodes"]
    nodes["uniqueItems"] = True
    address = sections[NodeConfig.__name__]["properties"]["address"]
    nodes["items"] = {"anyOf": [dict(address), nodes["items"]]}
    # Defaults that are made anew for each use are not seen by pydantic.
    properties["routing"]["default"] = {"plugin": "key_patterns"}
    properties["authentication"]["default"] = {}
    mechanisms = sections[AuthenticationConfig.__name__]["properties"]["mechanisms"]
    mechanisms["default"] = [{"plugin": "PLAIN"}, {"plugin": "AMQPLAIN"}]
    sections[UpstreamConfig.__name__]["properties"]["selector"]["default"] = {"plugin": "least_connections"}
    add_plugins(sections, Untitled)
    result: dict[str, Any] = _polished(schema)
    return {"$schema": _DIALECT, **result, "title": "Configuration of trabbits"}


class Untitled(GenerateJsonSchema):
    """Without a title for each key, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def get_title_from_name(self, name: str) -> str:
        return name

    def model_schema(self, schema: Any) -> dict[str, Any]:
        result = super().model_schema(schema)
        result.pop("title", None)
        model: type[BaseModel] = schema["cls"]
        result["description"] = model.__doc__ or ""
        return result


def _has(*keys: str) -> dict[str, Any]:
    """An object that says something about each of `keys`."""
    return {"required": list(keys), "properties": dict.fromkeys(keys, _NOT_NULL)}


def _polished(schema: Any) -> Any:
    """Descriptions as running text, and texts that may contain variables."""
    if isinstance(schema, list):
        return [_polished(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(description := schema.get("description"), str):
        schema = schema | {"description": " ".join(description.split())}
    if isinstance(schema.get("default"), float) and schema.get("examples") == EXAMPLES:
        schema = schema | {"default": format_duration(schema["default"])}
    if _is_text(schema) and (bounds := {key: schema[key] for key in _TEXT_BOUNDS if key in schema}):
        rest = {key: value for key, value in schema.items() if key not in _TEXT_BOUNDS}
        return rest | {"anyOf": [bounds, dict(_VARIABLE)]}
    return {key: _polished(value) for key, value in schema.items()}


def _is_text(schema: dict[str, Any]) -> bool:
    choices = schema.get("enum")
    is_choice = isinstance(choices, list) and any(isinstance(each, str) for each in choices)
    return schema.get("type") == "string" or is_choice
