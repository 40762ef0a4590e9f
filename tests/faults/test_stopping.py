"""SIGTERM: clients are told 320 and waited for, but not for ever; the exit status is 0 all the same."""

from __future__ import annotations

import signal
import socket
import time
from typing import Any

import pytest
from pamqp import commands

from tests.contract.target import HOST, fan_config, plain_config, unique
from tests.faults.conftest import surprises
from tests.faults.fake_upstream import FakeUpstream, Script, never_open, say_nothing
from tests.faults.vanishing import Stage, Vanishing, after_start_ok, after_tune, handshake, not_reading
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import PROTOCOL_HEADER, RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

FAREWELL = "CONNECTION_FORCED - Server shutting down"


@pytest.fixture(params=["plain", "fan"])
def config(request: pytest.FixtureRequest, rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> dict[str, Any]:
    if request.param == "plain":
        return plain_config(rabbit_a)
    return fan_config(rabbit_a, rabbit_b)


def assert_ends_well(proxy: TrabbitsProcess, within: float) -> None:
    """Exit status 0 in time, and nothing in the log that only a bug can cause."""
    assert proxy.wait(within) == 0, proxy.log_text
    assert [entry["event"] for entry in proxy.logs][-1] == "stopped"
    assert not surprises(proxy)


def consume(client: RawClient, node: RabbitNode, vhost: str) -> str:
    """A consumer on a queue in which one message is, delivered to it and not acknowledged."""
    queue = unique("left")
    client.open_channel(1)
    client.call(commands.Queue.Declare(queue=queue), commands.Queue.DeclareOk)
    client.publish("", queue, b"unacknowledged")
    client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    client.expect_content(commands.Basic.Deliver)
    return queue


def test_clients_are_told_and_waited_for(
    trabbits: ProxyFactory, config: dict[str, Any], rabbit_a: RabbitNode, faults_vhost: str
) -> None:
    """No new clients; connection.close for everyone, wherever it is; what it held is its queue's again.

    Clients in their handshake may finish it; those that do not hear of it in the last second.
    """
    # So long that a client that is not waited for, or one that is waited for in vain, would show.
    graceful = {"shutdown_timeout": "4s"}
    proxy = trabbits({**config, "connection_close_timeout": "30s", "graceful_shutdown": graceful})
    consumers = [RawClient.open(HOST, proxy.port, vhost=faults_vhost) for _ in range(3)]
    queues = [consume(client, rabbit_a, faults_vhost) for client in consumers]
    idle = RawClient.open(HOST, proxy.port, vhost=faults_vhost)
    silent = RawClient.dial(HOST, proxy.port)
    in_handshake = RawClient.dial(HOST, proxy.port)
    in_handshake.send_octets(PROTOCOL_HEADER)
    in_handshake.expect(commands.Connection.Start)
    clients = [*consumers, idle, in_handshake]
    proxy.send_signal(signal.SIGTERM)
    for client in clients:
        close = client.expect(commands.Connection.Close)
        assert (close.reply_code, close.reply_text) == (320, FAREWELL)
    silent.expect_socket_closed()
    silent.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port)).close()
    assert proxy.status is None
    for client in clients:
        client.send(commands.Connection.CloseOk())
        client.expect_socket_closed()
        client.close()
    assert_ends_well(proxy, within=10)
    assert proxy.find_logs(event="stopping")[0]["sessions"] == 6
    assert not proxy.find_logs(event="close_timeout")
    node = RawClient.open(HOST, rabbit_a.port, vhost=faults_vhost)
    node.open_channel(1)
    for queue in queues:
        declared = node.call(commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk)
        assert declared.message_count == 1
        node.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)
    node.close_politely()


@pytest.mark.parametrize("bound", ["connection_close_timeout", "shutdown_timeout"])
def test_a_client_that_does_not_answer(
    trabbits: ProxyFactory, config: dict[str, Any], faults_vhost: str, bound: str
) -> None:
    """It is dropped after the shorter of both bounds; one that reads nothing at all, too."""
    times = {"connection_close_timeout": "1h", "shutdown_timeout": "1h", bound: "500ms"}
    graceful = {"shutdown_timeout": times.pop("shutdown_timeout")}
    proxy = trabbits({**config, **times, "graceful_shutdown": graceful})
    rude = RawClient.open(HOST, proxy.port, vhost=faults_vhost)
    deaf = Vanishing.dial(proxy.port, faults_vhost)
    not_reading(deaf)
    began = time.monotonic()
    proxy.send_signal(signal.SIGTERM)
    assert rude.expect(commands.Connection.Close).reply_text == FAREWELL
    assert_ends_well(proxy, within=10)
    assert time.monotonic() - began > 0.4
    if bound == "connection_close_timeout":
        assert len(proxy.find_logs(event="close_timeout")) == 2
    for client in (rude, deaf.client):
        client.close()


@pytest.mark.parametrize(
    ("script", "stage"), [(say_nothing, after_start_ok), (never_open, after_tune), (never_open, handshake)]
)
def test_while_links_are_being_opened(trabbits: ProxyFactory, script: Script, stage: Stage) -> None:
    """The attempts are given up, and links that wait for the client, too."""
    with FakeUpstream(script) as silent:
        upstreams = [{"name": "silent", "address": silent.address, "timeout": "1h"}]
        proxy = trabbits({"upstreams": upstreams, "graceful_shutdown": {"shutdown_timeout": "2s"}})
        waiting = Vanishing.dial(proxy.port, "/")
        stage(waiting)
        eventually(lambda: silent.peers)
        proxy.send_signal(signal.SIGTERM)
        assert waiting.client.expect(commands.Connection.Close).reply_text == FAREWELL
        waiting.client.send(commands.Connection.CloseOk())
        waiting.client.close()
        assert_ends_well(proxy, within=10)
        assert eventually(lambda: silent.peers[0].gone)


def test_while_a_node_is_frozen(trabbits: ProxyFactory, spare_node: RabbitNode) -> None:
    """Its links end without its answer."""
    proxy = trabbits({"upstreams": [{"name": "frozen", "address": spare_node.address}]})
    client = RawClient.open(HOST, proxy.port)
    spare_node.pause()
    proxy.send_signal(signal.SIGTERM)
    assert client.expect(commands.Connection.Close).reply_text == FAREWELL
    client.send(commands.Connection.CloseOk())
    client.close()
    assert_ends_well(proxy, within=10)
