"""A node that is frozen: the kernel takes its connections, and then nothing answers.

Worse than a dead one, for everybody who meets it waits for a timeout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pamqp import commands

from tests.cluster.conftest import ClusterProxyFactory
from tests.cluster.crowd import (
    PROMPTLY,
    SLACK,
    at_node,
    close_all,
    connect,
    connect_many,
    connections_at,
    expect_lost,
    health_check,
    moment,
    node_of,
    seconds_for,
    upstream,
    works,
)
from tests.contract.target import HOST
from trabbits.testing.cluster import RabbitCluster
from trabbits.testing.raw_client import HEARTBEAT, RawClient, eventually, raw_frame


@contextmanager
def beating(client: RawClient) -> Iterator[None]:
    """The client sends heartbeats meanwhile."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.3):
            try:
                client.send_octets(raw_frame(HEARTBEAT, 0, b""))
            except OSError:
                return

    with ThreadPoolExecutor(1) as pool:
        pool.submit(beat)
        try:
            yield
        finally:
            ended.set()


def test_it_is_isolated_and_its_clients_go_to_other_nodes(
    cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory
) -> None:
    """Missing heartbeats end its links, timeouts its checks; when it goes on it is trusted again."""
    interval, timeout, recovery = 0.5, 1.0, 1.0
    check = health_check(timeout="1s", unhealthy_threshold=2)
    proxy = cluster_proxy(upstream(cluster, timeout="1s", health_check=check), heartbeat=1)
    victim = cluster.nodes[0]
    clients = connect_many(proxy, 3)
    watchful = connect_many(proxy, 3, heartbeat=1)
    (losing,) = at_node(proxy, watchful, victim)
    with beating(losing):
        close_all([client for client in watchful if client is not losing])
        frozen_at = time.time()
        victim.pause()
        isolated = proxy.wait_for_log(event="node_isolated", upstream="main", node=victim.address)
        # The first check that meets the frozen node was under way or began at most an interval later.  Each takes the
        # whole timeout, and the second follows at once, for that is longer than the interval.
        assert timeout < moment(isolated) - frozen_at < interval + 2 * timeout + SLACK
        assert isolated["failures"] == 2
        expect_lost(losing, victim)
    again = connect_many(proxy, 4)
    assert not at_node(proxy, again, victim)
    # A client without heartbeats may stay and hope.
    hoping = at_node(proxy, clients, victim)
    assert all(works(client) for client in [*again, *(client for client in clients if client not in hoping)])

    victim.resume()
    awake_at = time.time()
    recovered = proxy.wait_for_log(event="node_recovered", upstream="main", node=victim.address)
    # A check that began while it was frozen may still be waiting.
    assert moment(recovered) - awake_at < recovery + timeout + SLACK
    assert all(works(client) for client in hoping)
    newcomer = connect(proxy)
    assert node_of(proxy, newcomer) == victim.address
    close_all([*again, newcomer, *clients])


def test_only_the_first_client_waits_for_it(cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory) -> None:
    """What one client met spares the next ones, until the recovery interval is over; then it is tried again."""
    timeout, recovery = 2.0, 3.0
    check = {"enabled": False, "recovery_interval": f"{recovery:g}s"}
    proxy = cluster_proxy(upstream(cluster, timeout=f"{timeout:g}s", health_check=check))
    clients = connect_many(proxy, 3)
    victim = cluster.nodes[0]
    (leaving,) = at_node(proxy, clients, victim)
    leaving.close_politely()
    clients.remove(leaving)
    eventually(lambda: connections_at(victim) == 0, 5, "the client has left")

    victim.pause()
    waited = seconds_for(lambda: clients.append(connect(proxy)))
    assert timeout <= waited < timeout + SLACK
    assert node_of(proxy, clients[-1]) != victim.address
    suspect = proxy.wait_for_log(event="node_suspect", upstream="main", node=victim.address)
    proxy.wait_for_log(event="link_retried", upstream="main", node=victim.address, left=2)
    # Until the suspicion ends; seconds are enough for three clients.
    for _ in range(3):
        assert seconds_for(lambda: clients.append(connect(proxy))) < PROMPTLY
    assert len(proxy.find_logs(event="link_retried")) == 1

    victim.resume()

    def newcomer_is_sent_there() -> bool:
        newcomer = connect(proxy)
        try:
            return node_of(proxy, newcomer) == victim.address
        finally:
            newcomer.close_politely()

    eventually(newcomer_is_sent_there, recovery + SLACK, "somebody is sent to the node again")
    trusted = proxy.wait_for_log(event="node_trusted", upstream="main", node=victim.address)
    assert moment(trusted) - moment(suspect) >= recovery
    close_all(clients)


def test_when_all_are_frozen_all_are_tried(cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory) -> None:
    """A client is told of each node; and one that answers serves clients, whatever its state."""
    check = health_check(interval="300ms", timeout="500ms", unhealthy_threshold=1, recovery_interval="60s")
    proxy = cluster_proxy(upstream(cluster, timeout="500ms", health_check=check))
    for node in cluster.nodes:
        node.pause()
    for node in cluster.nodes:
        proxy.wait_for_log(event="node_isolated", upstream="main", node=node.address)

    refused = RawClient.dial(HOST, proxy.port)
    refused.start("guest", "guest")
    close = refused.expect(commands.Connection.Close)
    assert close.reply_code == 320
    assert "upstream 'main'" in close.reply_text
    text = proxy.wait_for_log(event="link_unreachable", upstream="main")["text"]
    assert all(address in text for address in cluster.addresses)
    refused.close()

    awake = cluster.nodes[1]
    awake.resume()
    client = connect(proxy)
    assert node_of(proxy, client) == awake.address
    assert works(client)
    assert not proxy.find_logs(event="node_recovered")
    client.close_politely()
