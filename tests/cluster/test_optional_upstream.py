"""An upstream that is not required: clients connect without it while it is down, and with it when it is back."""

from __future__ import annotations

from tests.cluster.conftest import ClusterProxyFactory
from tests.cluster.crowd import (
    PROMPTLY,
    SLACK,
    connect,
    connections_at,
    health_check,
    node_of,
    seconds_for,
    works,
)
from trabbits.testing.cluster import RabbitCluster
from trabbits.testing.raw_client import RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess


def attached(proxy: TrabbitsProcess, sessions: int) -> list[list[str]]:
    """The upstreams of each session that was opened, so many by now."""
    eventually(lambda: len(proxy.find_logs(event="client_opened")) >= sessions, 5, f"{sessions} sessions")
    return [entry["upstreams"] for entry in proxy.find_logs(event="client_opened")]


def test_clients_do_without_it_while_it_is_frozen(cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory) -> None:
    """Only the first has to wait for the timeout."""
    timeout = 2.0
    *main, extra = cluster.nodes
    proxy = cluster_proxy(
        {"name": "main", "cluster": {"nodes": [node.address for node in main]}},
        {
            "name": "extra",
            "address": extra.address,
            "required": False,
            "timeout": f"{timeout:g}s",
            "routing": {"key_patterns": ["extra.#"]},
            # So slow that a client notices first, and what it noticed holds until the node is isolated.
            "health_check": health_check(interval="1s", timeout="1s", unhealthy_threshold=3, recovery_interval="4s"),
        },
    )
    clients: list[RawClient] = [connect(proxy)]
    assert attached(proxy, 1) == [["main", "extra"]]
    assert node_of(proxy, clients[0], "extra") == extra.address
    clients.pop().close_politely()

    extra.pause()
    first = seconds_for(lambda: clients.append(connect(proxy)))
    assert first < timeout + SLACK
    proxy.wait_for_log(event="upstream_skipped", upstream="extra")
    assert not proxy.find_logs(event="node_isolated")
    for _ in range(3):
        assert seconds_for(lambda: clients.append(connect(proxy))) < PROMPTLY
    proxy.wait_for_log(event="node_isolated", upstream="extra", node=extra.address)
    assert seconds_for(lambda: clients.append(connect(proxy))) < PROMPTLY
    assert attached(proxy, 6)[1:] == [["main"]] * 5
    assert all(works(client) for client in clients)

    extra.resume()
    proxy.wait_for_log(event="node_recovered", upstream="extra", node=extra.address)
    clients.append(connect(proxy))
    assert attached(proxy, 7)[-1] == ["main", "extra"]
    assert node_of(proxy, clients[-1], "extra") == extra.address
    assert works(clients[-1])
    for client in clients:
        client.close_politely()
    eventually(lambda: connections_at(extra) == 0, 10, "no link is left")
