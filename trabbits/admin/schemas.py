"""The shapes of what the admin API answers, as JSON Schema.

Lives here: `SCHEMAS`, by name.  Must not know: which call answers what (``openapi.py``).
"""

from __future__ import annotations

from typing import Any

from trabbits.admin.log_ring import LEVELS

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "integer"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TRUTH: Json = {"type": "boolean"}
_TIME: Json = {"type": "string", "format": "date-time"}
_TIME_OR_NOT: Json = {"type": ["string", "null"], "format": "date-time"}


def _said(schema: Json, description: str) -> Json:
    return {**schema, "description": description}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, *, description: str = "", closed: bool = True) -> Json:
    schema: Json = {"type": "object", "properties": properties, "required": list(properties)}
    if closed:
        schema["additionalProperties"] = False
    return schema | ({"description": description} if description else {})


def _list(item: Json) -> Json:
    return {"type": "array", "items": item}


_CLIENT: Json = {
    "id": _said(_TEXT, "`proxy-` and 16 hexadecimal digits."),
    "client_address": _TEXT,
    "user": _said(_TEXT, "Empty until the client has said it."),
    "virtual_host": _said(_TEXT, "Empty until the client has said it."),
    "client_banner": _said(_TEXT, "platform/product/version, in the client's words."),
    "connected_at": _TIME,
    "status": {"enum": ["active", "shutting_down"]},
    "shutdown_reason": _said(_TEXT, "Empty while it is active."),
    "total_frames": _said(_COUNT, "Exchanged with the client, both ways."),
    "total_methods": _said(_COUNT, "Exchanged with the client, both ways."),
}
_STATS = _object(
    {
        "started_at": _TIME,
        "methods": _said({"type": "object", "additionalProperties": _COUNT}, "By name, such as `Basic.Publish`."),
        "total_methods": _COUNT,
        "received_frames": _COUNT,
        "sent_frames": _COUNT,
        "total_frames": _COUNT,
        "received_octets": _COUNT,
        "sent_octets": _COUNT,
        "duration": _said({"type": "number", "minimum": 0}, "Seconds since it connected."),
    }
)
_LINK = _object(
    {
        "upstream": _TEXT,
        "node": _TEXT,
        "blocked": _said(_TRUTH, "Whether the node takes no publishes now (connection.blocked)."),
        "unacknowledged": _said(_COUNT, "Deliveries that the client has not acknowledged."),
        "unconfirmed": _said(_COUNT, "Publishes that the upstream has not confirmed, on channels that ask for it."),
    }
)
_NODE = _object(
    {
        "address": _TEXT,
        "health": {"enum": ["healthy", "isolated"]},
        "suspect": _said(_TRUTH, "Whether it failed a client lately, so that others go first."),
        "links": _said(_COUNT, "Links of this process, those being opened included."),
        "failures": _said(_COUNT, "Failed health checks in a row."),
        "last_error": _said(_TEXT, "Empty when nothing has gone wrong yet."),
        "last_check": _TIME_OR_NOT,
        "last_change": _TIME_OR_NOT,
        "checks": _COUNT,
        "failed_checks": _COUNT,
        "isolations": _COUNT,
        "recoveries": _COUNT,
        "connection_attempts": _COUNT,
        "connection_errors": _COUNT,
        "passive_signs": _said(_COUNT, "How often it failed a client."),
    }
)
_PROBLEMS = _list(_object({"path": _TEXT, "message": _TEXT}))

SCHEMAS: Json = {
    "Error": _object({"error": _TEXT}),
    "WrongConfig": {
        **_object({"error": _TEXT}, closed=False),
        "properties": {"error": _TEXT, "problems": _said(_PROBLEMS, "What is wrong with a configuration, and where.")},
        "additionalProperties": False,
    },
    "Index": _object({"name": _TEXT, "version": _TEXT, "links": _list(_TEXT)}),
    "Live": _object({"status": {"const": "live"}}),
    "Ready": _object({"status": {"const": "ready"}}),
    "NotReady": _object({"error": _TEXT, "status": {"const": "not ready"}, "reasons": _list(_TEXT)}),
    "Client": _object(_CLIENT),
    "ClientDetail": _object(
        {
            **_CLIENT,
            "client_properties": _said({"type": "object"}, "What it said about itself."),
            "stats": _STATS,
            "channels": _said(_COUNT, "Open ones."),
            "consumers": _COUNT,
            "config_hash": _said(_TEXT, "Of the configuration that it came under."),
            "links": _list(_LINK),
        }
    ),
    "ShutdownInitiated": _object({"status": {"const": "shutdown_initiated"}, "proxy_id": _TEXT, "reason": _TEXT}),
    "Upstream": _object(
        {
            "name": _TEXT,
            "required": _TRUTH,
            "addresses": _list(_TEXT),
            "links": _COUNT,
            "unacknowledged": _said(_COUNT, "Of all its links."),
            "unconfirmed": _said(_COUNT, "Of all its links."),
            "publishes": _said(_COUNT, "Messages that went there since the process began."),
            "deliveries": _said(_COUNT, "Messages that came from there since the process began."),
            "nodes": _list(_NODE),
        }
    ),
    "ConfigChanged": _object(
        {
            "hash": _said(_TEXT, "Of the running configuration."),
            "changed": _said(_TRUTH, "False when it means the same as before: then nobody is disconnected."),
            "outdated": _said(_COUNT, "Clients of other configurations, who are asked to reconnect."),
            "warnings": _PROBLEMS,
        }
    ),
    "ProbeEvent": _said(
        {
            "oneOf": [
                _object(
                    {
                        "type": {"const": "method"},
                        "time": _TIME,
                        "direction": {"enum": ["c→t", "t→u", "u→t", "t→c"]},
                        "upstream": _said(_TEXT, "Empty between client and trabbits."),
                        "channel": _COUNT,
                        "method": _said(_TEXT, "Such as `Basic.Publish`."),
                        "arguments": {"type": "object"},
                    }
                ),
                _ref("Dropped"),
                _object({"type": {"const": "proxy_ended"}}, description="The client has left; nothing follows."),
            ]
        },
        "One event of a probe.",
    ),
    "LogLine": _said(
        {
            "oneOf": [
                _object(
                    {"time": _TIME, "level": {"enum": list(LEVELS)}, "id": _TEXT, "event": _TEXT, "message": _TEXT},
                    closed=False,
                ),
                _ref("Dropped"),
            ]
        },
        "A line of the log, with further fields.",
    ),
    "Dropped": _object(
        {"type": {"const": "dropped"}, "count": _NUMBER},
        description="So many events are missing here, because the reader was too slow.",
    ),
}
