"""The node selectors, each in front of a real cluster: who connects where, also when the first choice is frozen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.conftest import ClusterProxyFactory
from tests.cluster.crowd import close_all, connect_many, spread_of, upstream
from trabbits.testing.cluster import RabbitCluster

CLIENTS = 9


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        ("least_connections", [3, 3, 3]),
        ("round_robin", [3, 3, 3]),
        ("ordered", [0, CLIENTS, 0]),
        ("datacenter_affinity", [0, 0, CLIENTS]),
        ("random", None),
    ],
)
def test_clients_go_where_the_selector_says(
    cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory, plugin: str, expected: list[int] | None
) -> None:
    addresses = [node.address for node in cluster.nodes]
    options: dict[str, Any] = {}
    if plugin == "ordered":
        options = {"nodes": [addresses[1], addresses[0]]}
    elif plugin == "datacenter_affinity":
        options = {"datacenter": "near"}
    nodes = [
        {"address": address, "labels": {"datacenter": datacenter}}
        for address, datacenter in zip(addresses, ("far", "farther", "near"), strict=True)
    ]
    selector = {"plugin": plugin, "options": options}
    proxy = cluster_proxy(upstream(cluster) | {"cluster": {"nodes": nodes}, "selector": selector})
    clients = connect_many(proxy, CLIENTS)
    spread = spread_of(cluster.nodes)
    assert sum(spread) == CLIENTS
    assert expected is None or spread == expected
    close_all(clients)


def test_the_second_choice_when_the_first_is_frozen(cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory) -> None:
    addresses = [node.address for node in cluster.nodes]
    selector = {"plugin": "ordered", "options": {"nodes": addresses}}
    proxy = cluster_proxy(upstream(cluster) | {"selector": selector, "timeout": "500ms"})
    cluster.nodes[0].pause()
    clients = connect_many(proxy, 3)
    assert spread_of(cluster.nodes[1:]) == [3, 0]
    close_all(clients)
