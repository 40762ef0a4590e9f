"""The broker on a port: flow control, timers, stopping.  Everything else is the contract tests' affair."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pamqp import commands

from tests.clients import Closed, RawClient, encode_methods, eventually
from tests.contract.embedded import EmbeddedNode
from tests.contract.target import HOST
from tests.testing.broker.peers import B, C, Q

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def node() -> Iterator[EmbeddedNode]:
    node = EmbeddedNode("server").start()
    yield node
    node.close()


@pytest.fixture
def client(node: EmbeddedNode) -> Iterator[RawClient]:
    client = RawClient.open(HOST, node.port)
    client.open_channel(1)
    yield client
    client.close()


def depth(node: EmbeddedNode, queue: str) -> int:
    return int(node.call(lambda: len(node.broker.vhost().queues[queue].ready)))


def test_a_client_that_reads_late_gets_everything_in_order(node: EmbeddedNode, client: RawClient) -> None:
    queue = client.own_queue()
    client.call(C.Select(), C.SelectOk)
    for number in range(40):
        client.publish("", queue, b"%02d" % number * (MIB // 2))
        client.expect(B.Ack, 1)
    client.open_channel(2)
    client.call(B.Consume(queue=queue, consumer_tag="late", no_ack=True), B.ConsumeOk, 2)
    eventually(lambda: depth(node, queue) < 40)
    assert depth(node, queue) > 0, "more is under way than sockets hold"
    assert [client.expect_content(B.Deliver, 2).body[:2] for _ in range(40)] == [b"%02d" % n for n in range(40)]


def test_a_client_that_never_reads_its_replies_is_not_read_any_more(node: EmbeddedNode, client: RawClient) -> None:
    client.sock.settimeout(0.5)
    many = encode_methods(B.Qos(), channel=1) * 50_000
    sent = 0
    try:
        while sent < 200 * MIB:
            sent += client.sock.send(many)
    except TimeoutError:
        pass
    assert sent < 200 * MIB
    other = RawClient.open(HOST, node.port)
    other.open_channel(1)
    other.close_politely()


def test_messages_expire_by_the_reactor_s_clock(node: EmbeddedNode, client: RawClient) -> None:
    client.call(Q.Declare(queue="short", exclusive=True, arguments={"x-message-ttl": 50}), Q.DeclareOk)
    client.publish("", "short", b"x")
    eventually(lambda: client.call(B.Get(queue="short"), B.GetEmpty) is not None and depth(node, "short") == 0)


def test_a_connection_is_forgotten_when_its_client_vanishes(node: EmbeddedNode) -> None:
    client = RawClient.open(HOST, node.port)
    client.open_channel(1)
    queue = client.own_queue()
    client.close()
    eventually(lambda: queue not in node.broker.vhost().queues)
    eventually(lambda: not node.broker.connections)


def test_stopping_drops_clients_and_frees_the_port() -> None:
    node = EmbeddedNode("short-lived").start()
    client = RawClient.open(HOST, node.port)
    node.close()
    with pytest.raises((Closed, ConnectionError)):
        client.expect(commands.Connection.Close)
    with pytest.raises(ConnectionRefusedError):
        RawClient.open(HOST, node.port)


def test_a_bug_costs_one_connection(node: EmbeddedNode, client: RawClient, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def broken(*_: Any) -> None:
        failed.set()
        raise ZeroDivisionError("a bug, for this test")

    monkeypatch.setattr("trabbits.testing.broker.queue.Queue.purge", broken)
    other = RawClient.open(HOST, node.port)
    other.open_channel(1)
    other.own_queue()
    other.send(Q.Purge(queue=""), channel=1)
    other.expect_socket_closed()
    assert failed.is_set()
    monkeypatch.undo()
    client.call(B.Qos(), B.QosOk)
