"""A node that ends while clients are connecting costs none of them its connection.

A handshake has two ways in which it can lie at a node: the link logs in or opens the virtual host, or it waits for the
client to go on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from pamqp import commands

from tests.cluster.conftest import ClusterProxyFactory
from tests.cluster.crowd import connections_at, upstream, works
from tests.contract.target import HOST
from trabbits.testing.cluster import RabbitCluster
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import PROTOCOL_HEADER, Closed, RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

#: Clients of each kind: two at each node.
EACH = 6
THREADS = 4
#: Connections that each thread opens after the node's end.
ROUNDS = 8

ends = pytest.mark.parametrize("end", [RabbitNode.pause, RabbitNode.kill], ids=["frozen", "killed"])


def greeted(proxy: TrabbitsProcess) -> RawClient:
    """A client that was asked who it is: nothing happens at the nodes yet."""
    client = RawClient.dial(HOST, proxy.port, timeout=20)
    client.send_octets(PROTOCOL_HEADER)
    return client


def logged_in(proxy: TrabbitsProcess) -> RawClient:
    """A client that was asked to tune: a link waits for it."""
    client = RawClient.dial(HOST, proxy.port, timeout=20)
    client.start("guest", "guest")
    return client


def go_on_from_greeting(client: RawClient) -> None:
    client.expect(commands.Connection.Start)
    client.send(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
    go_on_from_tune(client)


def go_on_from_tune(client: RawClient) -> None:
    client.tune()
    client.open_vhost("/")
    client.expect(commands.Connection.OpenOk)


@ends
def test_clients_in_the_middle_of_their_handshake(
    end: Callable[[RabbitNode], None], cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory
) -> None:
    """Wherever their handshake stood, they are opened at another node."""
    proxy = cluster_proxy(upstream(cluster, timeout="1s"), handshake_timeout="20s")
    waiting = [logged_in(proxy) for _ in range(EACH)]
    eventually(lambda: all(connections_at(node) == EACH / 3 for node in cluster.nodes), 10, "all are logged in")
    fresh = [greeted(proxy) for _ in range(EACH)]

    victim = cluster.nodes[0]
    end(victim)
    with ThreadPoolExecutor(2 * EACH) as pool:
        for opening in [
            *(pool.submit(go_on_from_tune, client) for client in waiting),
            *(pool.submit(go_on_from_greeting, client) for client in fresh),
        ]:
            opening.result(30)
    assert all(works(client) for client in [*waiting, *fresh])
    eventually(lambda: len(proxy.find_logs(event="client_opened")) == 2 * EACH, 5, "all sessions are logged")
    opened = [entry["node"] for entry in proxy.find_logs(event="link_opened")]
    assert len(opened) == 2 * EACH
    assert victim.address not in opened
    for client in [*waiting, *fresh]:
        client.close_politely()


class Storm:
    """Threads that open connections and leave, again and again, until they are told to stop."""

    def __init__(self, proxy: TrabbitsProcess) -> None:
        self.opened: Counter[int] = Counter()
        self._proxy = proxy
        self._stopping = threading.Event()

    @contextmanager
    def blowing(self) -> Iterator[None]:
        """Whatever cost a client its connection is raised at the end."""
        with ThreadPoolExecutor(THREADS) as pool:
            threads: list[Future[None]] = [pool.submit(self._blow, number) for number in range(THREADS)]
            try:
                yield
            finally:
                self._stopping.set()
            for thread in threads:
                thread.result(30)

    def everybody_opened(self, more: int) -> None:
        """Waits until each thread has opened that many connections from now on."""
        wanted = {number: self.opened[number] + more for number in range(THREADS)}
        eventually(lambda: all(self.opened[n] >= wanted[n] for n in wanted), 30, f"connections: {self.opened}")

    def _blow(self, number: int) -> None:
        while not self._stopping.is_set():
            client = RawClient.open(HOST, self._proxy.port, timeout=20)
            self.opened[number] += 1
            try:
                client.close_politely()
            except (Closed, BrokenPipeError, ConnectionResetError):
                client.close()  # it was at the node that ended


@ends
def test_clients_that_connect_all_the_time(
    end: Callable[[RabbitNode], None], cluster: RabbitCluster, cluster_proxy: ClusterProxyFactory
) -> None:
    """Each gets its connection, whatever step of the handshake the node's end falls into."""
    proxy = cluster_proxy(upstream(cluster, timeout="1s"))
    storm = Storm(proxy)
    with storm.blowing():
        storm.everybody_opened(3)
        end(cluster.nodes[1])
        storm.everybody_opened(ROUNDS)
    eventually(lambda: len(proxy.find_logs(event="client_opened")) >= sum(storm.opened.values()), 5, "all sessions")
    assert not proxy.find_logs(event="link_unreachable")
