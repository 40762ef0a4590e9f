"""Links that break: killed and frozen nodes.  Each client on such a node is told 320 and which upstream it was.

Covered: real nodes under load.  Upstreams that are none: ``test_false_upstreams.py``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attrs import define, field
from pamqp import commands

from tests.contract.target import HOST, plain_config, unique
from tests.faults.bystander import Bystander
from tests.faults.conftest import running
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import HEARTBEAT, RawClient, eventually, raw_frame
from trabbits.testing.trabbits_process import TrabbitsProcess

CLIENTS = 12


@define
class Worker:
    """A client that publishes to and consumes from its queue, one message after the other, until it is told to go."""

    client: RawClient
    queue: str = field(factory=lambda: unique("work"))
    rounds: int = 0

    @classmethod
    def open(cls, proxy: TrabbitsProcess, vhost: str, heartbeat: int = 0) -> Worker:
        return cls(RawClient.open(HOST, proxy.port, vhost=vhost, heartbeat=heartbeat, timeout=20))

    def until_closed(self) -> commands.Connection.Close:
        """Works, then the connection.close it got; after its close-ok the socket was closed in an orderly way."""
        client = self.client
        client.open_channel(1)
        client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        client.call(commands.Queue.Declare(queue=self.queue, exclusive=True), commands.Queue.DeclareOk)
        client.call(commands.Basic.Consume(queue=self.queue, no_ack=True), commands.Basic.ConsumeOk)
        while True:
            client.publish("", self.queue, b"work" * 500)
            method: Any = None
            while not isinstance(method, commands.Basic.Ack):
                method = client.receive().method
                if isinstance(method, commands.Connection.Close):
                    client.send(commands.Connection.CloseOk())
                    client.expect_socket_closed()
                    client.close()
                    return method
            self.rounds += 1


@pytest.fixture(params=["plain", "fan"])
def spare_proxy(
    request: pytest.FixtureRequest, spare_node: RabbitNode, rabbit_a: RabbitNode
) -> Iterator[TrabbitsProcess]:
    """A proxy in front of the spare node, alone or together with node A; heartbeats every second."""
    yield from running(in_front_of(spare_node, rabbit_a if request.param == "fan" else None))


@pytest.fixture
def spare_proxies(spare_node: RabbitNode, rabbit_a: RabbitNode) -> Iterator[list[TrabbitsProcess]]:
    """Both of them."""
    for plain in running(in_front_of(spare_node)):
        for fan in running(in_front_of(spare_node, rabbit_a)):
            yield [plain, fan]


def in_front_of(spare_node: RabbitNode, other: RabbitNode | None = None) -> TrabbitsProcess:
    upstreams: list[dict[str, Any]] = [{"name": "spare", "address": spare_node.address}]
    if other is not None:
        upstreams.append({"name": "a", "address": other.address, "routing": {"key_patterns": ["a.#"]}})
    return TrabbitsProcess({"upstreams": upstreams, "heartbeat": 1})


def assert_lost(close: commands.Connection.Close, node: RabbitNode, words: str) -> None:
    assert close.reply_code == 320
    assert close.reply_text.startswith("CONNECTION_FORCED - ")
    for part in ("upstream 'spare'", node.address, words):
        assert part in close.reply_text


def assert_nobody_is_left(proxy: TrabbitsProcess, vhost: str, *nodes: RabbitNode) -> None:
    """No link at any node and no session in the proxy."""
    for node in nodes:
        assert node.management is not None
        node.management.wait_for(lambda api: not api.connections(vhost), 15, "no connection at the node")
    proxy.terminate()
    assert proxy.find_logs(event="stopping")[0]["sessions"] == 0


def test_a_node_that_freezes(
    spare_proxy: TrabbitsProcess, spare_node: RabbitNode, rabbit_a: RabbitNode, faults_vhost: str
) -> None:
    """Two heartbeat intervals of silence; a client of the proxy that is alive is told, sooner than it would know."""
    worker = Worker.open(spare_proxy, faults_vhost, heartbeat=1)
    beating = threading.Event()

    def beat() -> None:
        while not beating.wait(0.3):
            try:
                worker.client.send_octets(raw_frame(HEARTBEAT, 0, b""))
            except OSError:
                return

    with ThreadPoolExecutor(2) as pool:
        closed = pool.submit(worker.until_closed)
        eventually(lambda: worker.rounds > 5)
        pool.submit(beat)
        spare_node.pause()
        frozen_at = time.monotonic()
        close = closed.result(20)
        beating.set()
    # Counted from the last octet, and looked at twice per interval.
    assert 1.4 < time.monotonic() - frozen_at < 10
    assert_lost(close, spare_node, "sent nothing for 2s")
    spare_proxy.wait_for_log(event="link_lost", upstream="spare")
    spare_node.resume()
    assert_nobody_is_left(spare_proxy, faults_vhost, rabbit_a, spare_node)


def test_a_node_that_is_killed_and_comes_back(
    spare_proxies: list[TrabbitsProcess], spare_node: RabbitNode, rabbit_a: RabbitNode, faults_vhost: str
) -> None:
    """All its clients are told, at once; clients of other nodes notice nothing; afterwards nobody is left.

    Others are refused, until it is back.
    """
    for neighbour in running(TrabbitsProcess(plain_config(rabbit_a))):
        with Bystander(HOST, neighbour.port, faults_vhost) as bystander, ThreadPoolExecutor(2 * CLIENTS) as pool:
            workers = [Worker.open(proxy, faults_vhost) for proxy in spare_proxies for _ in range(CLIENTS)]
            all_closed = [pool.submit(worker.until_closed) for worker in workers]
            for worker in workers:
                eventually(lambda worker=worker: worker.rounds > 3)  # type: ignore[misc]
            spare_node.kill()
            for closed in all_closed:
                assert_lost(closed.result(20), spare_node, "the connection")
            bystander.goes_on()
    for proxy in spare_proxies:
        proxy.wait_for_log(event="link_lost", upstream="spare")
        refused = RawClient.dial(HOST, proxy.port)
        refused.start("guest", "guest")
        assert_lost(refused.expect(commands.Connection.Close), spare_node, "refused the TCP connection")
        refused.close()
        assert len(proxy.find_logs(event="link_lost", upstream="spare")) == CLIENTS
    spare_node.start()
    for proxy in spare_proxies:
        RawClient.open(HOST, proxy.port, vhost=faults_vhost).close_politely()
        assert_nobody_is_left(proxy, faults_vhost, rabbit_a, spare_node)
