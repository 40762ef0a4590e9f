"""Clients of a cluster are spread over its nodes by least connections."""

from __future__ import annotations

from tests.cluster.conftest import ClusterProxyFactory
from tests.cluster.crowd import at_node, close_all, connect_many, spread_of, upstream, works
from trabbits.testing.cluster import RabbitCluster
from trabbits.testing.raw_client import eventually


def test_thirty_clients_are_ten_at_each_node(cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory) -> None:
    """Also when many come at once, and when those at one node have left and others come."""
    proxy = cluster_proxy(upstream(cluster))
    clients = connect_many(proxy, 30)
    assert spread_of(cluster.nodes) == [10, 10, 10]
    assert all(works(client) for client in clients)

    for node in cluster.nodes:
        leaving = at_node(proxy, clients, node)
        assert len(leaving) == 10
        close_all(leaving[:7])
        clients = [client for client in clients if client not in leaving[:7]]
    eventually(lambda: spread_of(cluster.nodes) == [3, 3, 3], 5, "the links of clients that left are gone")

    emptied = cluster.nodes[0]
    leaving = at_node(proxy, clients, emptied)
    close_all(leaving)
    clients = [client for client in clients if client not in leaving]
    eventually(lambda: spread_of(cluster.nodes) == [0, 3, 3], 5, "the links of clients that left are gone")
    newcomers = connect_many(proxy, 3)
    assert len(at_node(proxy, newcomers, emptied)) == 3
    close_all([*clients, *newcomers])
