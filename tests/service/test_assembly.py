"""From a configuration to settings and upstreams."""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock

from trabbits.assembly import build_upstreams, session_settings
from trabbits.config import default_config, validate_config
from trabbits.interfaces import QueueAttributes, QueueDeclare


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

    upstreams = build_upstreams(config, MemoryReactorClock())
    assert list(upstreams) == ["one", "two"]
    assert (upstreams["two"].name, upstreams["two"].address, upstreams["two"].timeout) == ("two", "[::1]:5673", 2.0)


def test_the_defaults_agree() -> None:
    """Settings built from an empty configuration are the settings' own defaults."""
    settings = session_settings(default_config())
    assert settings == type(settings)(upstreams=settings.upstreams, routing=settings.routing)
