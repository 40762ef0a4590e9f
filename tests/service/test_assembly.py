"""From a configuration to settings and upstreams."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock

from trabbits.assembly import build_policies, build_upstreams, health_policies, session_settings
from trabbits.config import Config, config_hash, default_config, validate_config
from trabbits.interfaces import (
    IConnectionPolicy,
    IMessageRoutingStrategy,
    MessageProperties,
    QueueAttributes,
    QueueDeclare,
)
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
            "policy_timeout": "6s",
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
    assert settings.routing_plugin == "key_patterns"
    assert (settings.handshake_timeout, settings.connection_close_timeout) == (3.0, 4.0)
    assert (settings.frame_max, settings.channel_max, settings.heartbeat) == (4096, 7, 8)
    assert settings.tx_best_effort is True
    assert settings.policy_timeout == 6.0

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
        upstreams=settings.upstreams,
        routing=settings.routing,
        routing_plugin="key_patterns",
        mechanisms=settings.mechanisms,
        config_hash=config_hash(default_config()),
    )


def with_plugins(**keys: Any) -> Config:
    upstreams = [
        {
            "name": "one",
            "cluster": {"nodes": ["a:1", {"address": "b:2", "labels": {"datacenter": "eu"}}]},
            "selector": {"plugin": "datacenter_affinity", "options": {"datacenter": "eu"}},
        },
        {
            "name": "two",
            "address": "c:3",
            "queue_attributes": {"durable": True},
            "rewriters": [{"plugin": "quorum"}],
            "routing": {"key_patterns": ["orders.#"]},
        },
    ]
    return validate_config({"upstreams": upstreams, **keys}, "test")


def test_selectors_and_labels() -> None:
    """An upstream has the selector that is configured for it, and its nodes have their labels."""
    reactor = MemoryReactorClock()
    table = NodeTable(reactor)
    one, two = build_upstreams(with_plugins(), table, reactor).values()
    assert [status.labels for status in one.statuses] == [{}, {"datacenter": "eu"}]
    assert [str(status.node) for status in one._preference.order(one.statuses)] == ["b:2", "a:1"]
    assert [status.labels for status in two.statuses] == [{}]


def test_rewriters_in_their_order() -> None:
    """Behind the fixed attributes: a queue that these made durable becomes a quorum queue."""
    one, two = session_settings(with_plugins()).upstreams
    assert one.rewriter is None
    assert two.rewriter is not None
    assert two.rewriter.rewrite(QueueDeclare("q", durable=False)) == QueueAttributes(
        durable=True, arguments={"x-queue-type": "quorum"}
    )


def test_routing_by_a_plugin() -> None:
    """The strategy that is configured; one that combines others makes them from their names and options."""
    headers = {"plugin": "headers", "options": {"rules": [{"match": {"x": 1}, "upstream": "one"}]}}
    options = {"strategies": [headers, {"plugin": "key_patterns"}]}
    routing = session_settings(with_plugins(routing={"plugin": "first_match", "options": options})).routing
    assert IMessageRoutingStrategy.providedBy(routing)
    assert routing.route_message("", "orders.eu", MessageProperties({"x": 1})) == "one"
    assert routing.route_message("", "orders.eu", MessageProperties()) == "two"
    weights = {"plugin": "weighted", "options": {"weights": {"one": 0, "two": 100}}}
    assert session_settings(with_plugins(routing=weights)).routing.route("", "any") == "two"


def limited(*totals: int, **other: Any) -> Config:
    policies = [{"plugin": "max_connections", "options": {"total": total}} for total in totals]
    return with_plugins(policies=policies, **other)


def built(config: Config, known: list[tuple[str, str, IConnectionPolicy]]) -> list[tuple[str, str, IConnectionPolicy]]:
    return build_policies(config, MemoryReactorClock(), {key: policy for key, _, policy in known})


def test_policies_go_on_over_a_reload() -> None:
    """Those whose options stay the same, at whatever place: they know whom they admitted.  Others begin anew."""
    first = built(limited(5, 6), [])
    assert [name for _, name, _ in first] == ["max_connections", "max_connections"]
    assert first[0][2] is not first[1][2]
    again = built(limited(5, 6, heartbeat=7), first)
    assert [one is other for (_, _, one), (_, _, other) in zip(first, again, strict=True)] == [True, True]
    less = built(limited(5, 7), again)
    assert less[0][2] is first[0][2]
    assert less[1][2] not in (first[0][2], first[1][2])
    assert built(limited(), less) == []


def test_a_policy_is_itself_at_another_place() -> None:
    """One that is put before the others makes none of them forget."""
    first = built(limited(5), [])
    more = built(limited(4, 5), first)
    assert more[1][2] is first[0][2]
    assert more[0][2] is not first[0][2]


def test_equal_policies_are_two() -> None:
    """The same policy twice is no policy that counts twice."""
    first = built(limited(5, 5), [])
    assert first[0][2] is not first[1][2]
    again = built(limited(5, 5), first)
    assert [each for _, _, each in again] == [each for _, _, each in first]
