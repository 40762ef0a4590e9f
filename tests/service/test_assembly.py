"""From a configuration to settings and upstreams."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock

from trabbits.assembly import build_upstreams, health_policies, session_settings
from trabbits.config import config_hash, default_config, validate_config
from trabbits.interfaces import QueueAttributes, QueueDeclare
from trabbits.upstream.health import HealthPolicy
from trabbits.upstream.status import NodeTable


def test_everything_arrives() -> None:
    """Every key of the configuration reaches the settings or the upstream that it is about."""
    config = validate_config(
        {
            "upstreams": [
                {"name": "one", "address": "localhost:5672"},
                {
                    "name": "two",
                    "address": "[::1]:5673",
                    "timeout": "2s",
                    "routing": {"key_patterns": ["a.#"]},
                    "queue_attributes": {"durable": True, "arguments": {"x": None}},
                },
            ],
            "handshake_timeout": "3s",
            "connection_close_timeout": "4s",
            "frame_max": 4096,
            "channel_max": 7,
            "heartbeat": 8,
            "transactions": {"best_effort": True},
        },
        "test",
    )
    settings = session_settings(config)
    assert [upstream.name for upstream in settings.upstreams] == ["one", "two"]
    assert settings.upstreams[0].rewriter is None
    rewriter = settings.upstreams[1].rewriter
    assert rewriter is not None
    assert rewriter.rewrite(QueueDeclare("q")) == QueueAttributes(durable=True, arguments={"x": None})
    assert settings.routing.route("", "a.b") == "two"
    assert settings.routing.route("", "b") is None
    assert (settings.handshake_timeout, settings.connection_close_timeout) == (3.0, 4.0)
    assert (settings.frame_max, settings.channel_max, settings.heartbeat) == (4096, 7, 8)
    assert settings.tx_best_effort is True

    reactor = MemoryReactorClock()
    upstreams = build_upstreams(config, NodeTable(reactor), reactor)
    assert list(upstreams) == ["one", "two"]
    assert (upstreams["two"].name, upstreams["two"].timeout, upstreams["two"].required) == ("two", 2.0, True)
    assert [str(status.node) for status in upstreams["two"].statuses] == ["[::1]:5673"]


def test_clusters_and_health_checks() -> None:
    """Nodes, and how they are checked; a second configuration keeps what is known of nodes that stay."""
    cluster: dict[str, Any] = {
        "name": "cluster",
        "cluster": {"nodes": ["one:5672", "[::1]:5673"]},
        "required": False,
        "health_check": {
            "username": "watcher",
            "password": "secret",
            "virtual_host": "v",
            "interval": "1s",
            "timeout": "2s",
            "unhealthy_threshold": 4,
            "recovery_interval": "5s",
        },
    }
    plain = {"name": "plain", "address": "one:5672", "health_check": {"enabled": False}}
    config = validate_config({"upstreams": [cluster, plain]}, "test")
    reactor = MemoryReactorClock()
    table = NodeTable(reactor)
    upstreams = build_upstreams(config, table, reactor)
    known = upstreams["cluster"].statuses
    assert [str(status.node) for status in known] == ["one:5672", "[::1]:5673"]
    assert upstreams["cluster"].required is False
    assert health_policies(config) == {
        "cluster": HealthPolicy("watcher", "secret", "v", 1.0, 2.0, 4, 5.0),
    }
    cluster["cluster"]["nodes"] = ["[::1]:5673", "two:5672"]
    again = build_upstreams(validate_config({"upstreams": [cluster]}, "test"), table, reactor)
    assert again["cluster"].statuses[0] is known[1]
    assert len(table) == 2


def test_the_defaults_agree() -> None:
    """Settings built from an empty configuration are the settings' own defaults."""
    settings = session_settings(default_config())
    assert settings == type(settings)(
        upstreams=settings.upstreams, routing=settings.routing, config_hash=config_hash(default_config())
    )
