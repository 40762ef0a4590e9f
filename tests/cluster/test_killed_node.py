"""A node that dies and comes back: isolated and recovered at the configured times, and nobody has to wait for it."""

from __future__ import annotations

import time

from tests.cluster.conftest import ClusterProxyFactory
from tests.cluster.crowd import (
    SLACK,
    at_node,
    close_all,
    connect,
    connect_many,
    expect_lost,
    health_check,
    moment,
    node_of,
    pauses,
    upstream,
    works,
)
from trabbits.testing.cluster import RabbitCluster

# What `health_check` says.
INTERVAL, CHECK_TIMEOUT, RECOVERY, THRESHOLD = 0.5, 2.0, 1.0, 3
#: Seconds by which a check may come early (clocks are read twice), and late on a busy machine.
EARLY, LATE = 0.05, 1.0


def test_its_clients_go_to_other_nodes_until_it_is_back(
    cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory
) -> None:
    """Its clients are told 320 and connect again at once; the others notice nothing; afterwards it serves clients."""
    proxy = cluster_proxy(upstream(cluster, health_check=health_check()))
    victim = cluster.nodes[1]
    clients = connect_many(proxy, 9)
    losing = at_node(proxy, clients, victim)
    assert len(losing) == 3
    staying = [client for client in clients if client not in losing]

    killed_at = time.time()
    victim.kill()
    for client in losing:
        expect_lost(client, victim)
    again = [connect(proxy) for _ in losing]
    assert all(works(client) for client in [*again, *staying])
    assert not at_node(proxy, again, victim)

    isolated = proxy.wait_for_log(event="node_isolated", upstream="main", node=victim.address)
    assert isolated["failures"] == THRESHOLD
    # The first failed check comes within an interval, each of the others one interval later.
    earliest, latest = (THRESHOLD - 1) * INTERVAL - EARLY, THRESHOLD * INTERVAL + SLACK
    assert earliest < moment(isolated) - killed_at < latest
    failed = proxy.find_logs(event="node_check_failed", node=victim.address)[:THRESHOLD]
    assert [entry["failures"] for entry in failed] == [1, 2, 3]
    # Checks are due at a fixed rate: one that is late on a busy machine has a short pause behind it.
    assert all(INTERVAL / 2 < pause < INTERVAL + LATE for pause in pauses(failed))
    # (the first of them may have been at the node as it died)
    assert "refused the TCP connection" in failed[0]["text"] or "lost the connection" in failed[0]["text"]
    assert all("refused the TCP connection" in entry["text"] for entry in failed[1:])

    # Nobody is sent to an isolated node, although it has the fewest connections.
    retried = len(proxy.find_logs(event="link_retried"))
    more = connect_many(proxy, 6)
    assert not at_node(proxy, more, victim)
    assert len(proxy.find_logs(event="link_retried")) == retried
    close_all(more)

    victim.start()
    answering_at = time.time()
    recovered = proxy.wait_for_log(event="node_recovered", upstream="main", node=victim.address)
    assert moment(recovered) - answering_at < RECOVERY + SLACK
    assert abs(recovered["seconds"] - (moment(recovered) - moment(isolated))) < EARLY
    # While it was isolated it was checked at the recovery interval.
    while_isolated = proxy.find_logs(event="node_check_failed", node=victim.address)[THRESHOLD - 1 :]
    assert len(while_isolated) >= 2
    # (the last of them may have met the node as it started, and waited)
    assert all((INTERVAL + RECOVERY) / 2 < pause < RECOVERY + CHECK_TIMEOUT + LATE for pause in pauses(while_isolated))

    newcomer = connect(proxy)
    assert node_of(proxy, newcomer) == victim.address
    assert works(newcomer)
    # The states of the other nodes never changed.
    for event in ("node_isolated", "node_recovered", "node_suspect"):
        assert {entry["node"] for entry in proxy.find_logs(event=event)} <= {victim.address}
    close_all([*staying, *again, newcomer])


def test_without_health_checks_its_clients_find_the_others(
    cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory
) -> None:
    """A lost link is a sign, too: those who come back are not sent to the dead node first, empty as it is."""
    proxy = cluster_proxy(upstream(cluster))
    victim = cluster.nodes[2]
    clients = connect_many(proxy, 6)
    losing = at_node(proxy, clients, victim)
    victim.kill()
    for client in losing:
        expect_lost(client, victim)
    proxy.wait_for_log(event="node_suspect", upstream="main", node=victim.address)
    for _ in losing:
        again = connect(proxy)
        assert node_of(proxy, again) != victim.address
        again.close_politely()
    assert not proxy.find_logs(event="link_retried")
    assert len(proxy.find_logs(event="node_suspect")) == 1
    close_all([client for client in clients if client not in losing])
