"""Health checks among the services: they begin with the reactor, follow the configuration, and end with the service."""

from __future__ import annotations

from typing import Any

from tests.upstream.network import Network
from tests.upstream.scripted import outcome
from trabbits.assembly import build_upstreams
from trabbits.config import validate_config
from trabbits.service.health import HealthService
from trabbits.upstream.status import NodeTable

CHECK: dict[str, Any] = {"username": "watcher", "password": "secret", "interval": "10s"}


def configured(health_check: dict[str, Any] | None, *nodes: str) -> Any:
    upstream: dict[str, Any] = {"name": "a", "cluster": {"nodes": [f"{node}:5672" for node in nodes]}}
    if health_check is not None:
        upstream["health_check"] = health_check
    return validate_config({"upstreams": [upstream]}, "test")


def test_from_start_to_stop_over_a_reload() -> None:
    network = Network(one="works", two="works")
    table = NodeTable(network)
    config = configured(CHECK, "one")
    build_upstreams(config, table, network)
    service = HealthService(table, lambda: config, network)
    service.startService()
    network.settle()
    assert network.nodes["one"].dialed == 0, "not before the reactor runs"
    for hook, arguments, named in network.whenRunningHooks:
        hook(*arguments, **named)
    network.settle()
    assert network.nodes["one"].dialed == 1

    config = configured(CHECK, "one", "two")
    build_upstreams(config, table, network)
    service.refresh()
    network.settle()
    assert [node.dialed for node in network.nodes.values()] == [1, 1]

    stopped = outcome(service.stopService())
    network.settle()
    assert stopped == [None]
    service.refresh()
    network.assert_quiet()


def test_without_health_checks_nothing_is_done() -> None:
    network = Network(one="works")
    table = NodeTable(network)
    config = configured(None, "one")
    build_upstreams(config, table, network)
    service = HealthService(table, lambda: config, network)
    service.startService()
    service.refresh()
    network.assert_quiet()
    assert outcome(service.stopService()) == [None]
