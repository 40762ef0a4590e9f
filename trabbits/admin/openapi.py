"""The description of the admin API for machines, OpenAPI 3.1.

Lives here: paths, parameters, answers.  Must not know: how anything is done; tests compare it with ``app.py`` and with
what a running process answers.  The shapes of what is answered are in ``schemas.py``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from trabbits import __version__
from trabbits.admin.clients import FIELDS
from trabbits.admin.log_ring import LEVELS
from trabbits.admin.schemas import SCHEMAS

Json = dict[str, Any]

_ERRORS = {
    400: "The request is malformed",
    401: "The bearer token is missing or wrong (over TCP)",
    404: "There is no such client",
    409: "trabbits was started without a configuration file",
    412: "The running configuration is not the expected one (If-Match)",
    413: "The body is too large",
    415: "The body is of a type that is not understood",
    422: "The configuration cannot be used",
    500: "A fault of trabbits; the log has more",
    503: "Not now: trabbits is stopping, or too busy with calls of this kind",
}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The client's `id` in the listing.",
    "schema": {"type": "string", "examples": ["proxy-0123456789abcdef"]},
}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: Json, kind: str = "application/json", headers: Json | None = None) -> Json:
    answer: Json = {"description": description, "content": {kind: {"schema": schema}}}
    return answer | ({"headers": headers} if headers else {})


def _call(id: str, summary: str, answers: dict[int, Json], errors: tuple[int, ...] = (), **more: Any) -> Json:
    problem = {422, 400}
    responses = {
        **answers,
        **{
            code: _answer(_ERRORS[code], _ref("WrongConfig" if code in problem and "requestBody" in more else "Error"))
            for code in (400, 401, *errors, 500)
        },
    }
    return {
        "operationId": id,
        "summary": summary,
        **more,
        "responses": {str(code): responses[code] for code in sorted(responses)},
    }


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_CONFIGURATION: Json = {
    "required": True,
    "description": "A configuration, as in a file; `trabbits config schema` prints its schema. A masked secret "
    "(`**********`) stands for the one in use. Files cannot be imported.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "application/jsonnet": {"schema": {"type": "string", "minLength": 1}},
    },
}
_EVENTS = "text/event-stream"
_COUNT = {"X-Total-Count": {"description": "Clients after the filter, before `limit`.", "schema": {"type": "integer"}}}
_ETAG = {"ETag": {"description": "The configuration's hash, for If-Match.", "schema": {"type": "string"}}}
_DELETED = "The client has been sent connection.close, or had been before"


def _client_paths() -> Json:
    orders = sorted([*FIELDS, *(f"-{name}" for name in FIELDS)])
    listing = [
        _parameter("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
        _parameter("offset", "Pass over so many first.", {"type": "integer", "minimum": 0, "maximum": 999_999_999}),
        _parameter("sort", "By this field, with - in descending order; otherwise as they came.", {"enum": orders}),
        _parameter("q", "Those whose id, user, virtual host, address or banner holds this text.", {"type": "string"}),
    ]
    reason = _parameter(
        "reason", "What the client is told; at most 200 octets of printable text.", {"type": "string", "maxLength": 200}
    )
    return {
        "/clients": {
            "get": _call(
                "listClients",
                "The connected clients",
                {200: _answer("Clients", {"type": "array", "items": _ref("Client")}, headers=_COUNT)},
                parameters=listing,
            )
        },
        "/clients/{id}": {
            "parameters": [_ID],
            "get": _call(
                "getClient", "One client in detail", {200: _answer("The client", _ref("ClientDetail"))}, (404,)
            ),
            "delete": _call(
                "shutDownClient",
                "Let one client leave properly",
                {202: _answer(_DELETED, _ref("ShutdownInitiated"))},
                (404,),
                parameters=[reason],
            ),
        },
        "/clients/{id}/probe": {
            "parameters": [_ID],
            "get": _call(
                "probeClient",
                "The methods that pass between one client, trabbits and its upstreams: the last 100, then live",
                {200: _answer("Server-sent events, each a ProbeEvent", {"type": "string"}, _EVENTS)},
                (404, 503),
            ),
        },
    }


def _config_paths() -> Json:
    changed = {200: _answer("What became of it", _ref("ConfigChanged"))}
    if_match = {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "Only if the running configuration still has this ETag.",
        "schema": {"type": "string"},
    }
    return {
        "/config": {
            "get": _call(
                "getConfig",
                "The running configuration with secrets masked",
                {200: _answer("The configuration", {"type": "object"}, headers=_ETAG)},
            ),
            "put": _call(
                "putConfig",
                "Change to another configuration; clients of the old one are asked to reconnect",
                changed,
                (412, 413, 415, 422, 503),
                requestBody=_CONFIGURATION,
                parameters=[if_match],
            ),
        },
        "/config/diff": {
            "post": _call(
                "diffConfig",
                "What a configuration would change",
                {200: _answer("A unified diff, empty when it means the same", {"type": "string"}, "text/plain")},
                (413, 415, 422, 503),
                requestBody=_CONFIGURATION,
            )
        },
        "/config/reload": {
            "post": _call(
                "reloadConfig",
                "Read the configuration file again and change to it",
                changed | {422: _answer(_ERRORS[422], _ref("WrongConfig"))},
                (409, 413, 503),
            )
        },
    }


def _process_paths() -> Json:
    level = _parameter("level", "Lines of this level or a greater one.", {"enum": list(LEVELS)})
    return {
        "/": {"get": _call("index", "What this is", {200: _answer("Name, version, links", _ref("Index"))})},
        "/openapi.json": {
            "get": _call("describe", "This description", {200: _answer("The description", {"type": "object"})})
        },
        "/health/live": {
            "get": _call("isLive", "Whether the process works at all", {200: _answer("It does", _ref("Live"))})
        },
        "/health/ready": {
            "get": _call(
                "isReady",
                "Whether clients should be sent here",
                {
                    200: _answer("They should", _ref("Ready")),
                    503: _answer("It is stopping, or a required upstream has no node that works", _ref("NotReady")),
                },
            )
        },
        "/logs": {
            "get": _call(
                "followLog",
                "The log: the last 200 lines, then live",
                {200: _answer("Server-sent events, each a LogLine", {"type": "string"}, _EVENTS)},
                (503,),
                parameters=[level],
            )
        },
        "/upstreams": {
            "get": _call(
                "listUpstreams",
                "Upstreams, their nodes, and what is in flight",
                {200: _answer("Upstreams", {"type": "array", "items": _ref("Upstream")})},
            )
        },
    }


@cache
def document() -> Json:
    """The whole; not to be changed."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "trabbits admin API",
            "version": __version__,
            "summary": "What operators see and steer of a running trabbits.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": {**_process_paths(), **_client_paths(), **_config_paths()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`admin.token` of the configuration, over TCP; the UNIX socket asks for none.",
                }
            },
        },
    }
