"""Configurations that the tests here start from, and mistakes to make in them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from trabbits.config import ConfigError, parse_config

SECRET_FILES = Path(__file__).parent / "secret_files"

FULL: dict[str, Any] = {
    "upstreams": [
        {
            "name": "primary",
            "cluster": {"nodes": [{"address": "localhost:5672", "labels": {"datacenter": "eu"}}, "[::1]:5672"]},
            "selector": {"plugin": "datacenter_affinity", "options": {"datacenter": "eu", "order": ["us", "as"]}},
            "required": False,
            "health_check": {
                "enabled": True,
                "interval": "10s",
                "timeout": "1s",
                "unhealthy_threshold": 2,
                "recovery_interval": "20s",
                "username": "health",
                "password": "hunter2",
                "virtual_host": "checks",
            },
        },
        {
            "name": "orders",
            "address": "[::1]:5673",
            "timeout": "500ms",
            "routing": {"key_patterns": ["orders.#", "order-%.eu"]},
            "queue_attributes": {
                "durable": True,
                "auto_delete": False,
                "exclusive": None,
                "arguments": {"x-queue-type": "quorum", "x-expires": None, "x-list": [1, "a", {"b": 1.5}]},
            },
            "rewriters": [{"plugin": "quorum", "options": {"queues": ["orders.#"], "dropped": ["x-odd"]}}],
            "queue_options": {"try_passive": True, "emulate_auto_delete": True},
            "credentials": {
                "app": {"username": "app-2", "password": "hunter2", "client_password": "hunter2"},
                "*": {"password_file": str(SECRET_FILES / "orders"), "client_password_file": None},
            },
        },
    ],
    "handshake_timeout": 2,
    "connection_close_timeout": "1.5s",
    "graceful_shutdown": {"shutdown_timeout": "1m30s", "reload_timeout": 7, "rate_limit": 8, "burst_size": 9},
    "frame_max": 8192,
    "channel_max": 100,
    "heartbeat": "10s",
    "routing": {
        "plugin": "first_match",
        "options": {
            "strategies": [
                {
                    "plugin": "headers",
                    # In options inside of options, defaults count as something else.
                    "options": {
                        "rules": [{"match": {"x": 1}, "properties": {}, "any": False, "upstream": "orders"}],
                        "default": None,
                    },
                },
                {"plugin": "key_patterns"},
            ]
        },
    },
    "authentication": {
        "mechanisms": [
            {"plugin": "EXTERNAL", "options": {"user_from": "san_dns", "san_index": 1}},
            {"plugin": "PLAIN", "options": {"needs_tls": True}},
        ]
    },
    "tls": {
        "listen": "127.0.0.1:0",
        "certificate": "c.pem",
        "key": "k.pem",
        "client_ca": "a.pem",
        "client_certificate": "optional",
    },
    "policies": [
        {"plugin": "max_connections", "options": {"total": 5, "users": {"guest": 1}}},
        {"plugin": "http_auth", "options": {"url": "https://a/b", "token": "hunter2", "timeout": 1.5}},
    ],
    "policy_timeout": "2s",
    "transactions": {"best_effort": True},
}

#: The same with routing that names upstreams in its own options.
WEIGHTED: dict[str, Any] = FULL | {
    "routing": {"plugin": "weighted", "options": {"weights": {"primary": 90, "orders": 10}, "header": "customer"}}
}


def refused(raw: Any) -> dict[str, str]:
    """The problems of a configuration by their path."""
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps(raw), "test.json")
    assert str(caught.value).startswith("test.json: ")
    return {problem.path: problem.message for problem in caught.value.problems}


def changed(path: list[str | int], value: Any, base: dict[str, Any] = FULL) -> dict[str, Any]:
    """FULL, or another one, with one value replaced."""
    raw = copy.deepcopy(base)
    place: Any = raw
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return raw


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["5s", "a:1", "0", "\ud800", "${A}", "${"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("name"), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


#: A configuration, and a place in it.
anywhere = st.sampled_from([(base, place) for base in (FULL, WEIGHTED) for place in places(base)[1:]])
