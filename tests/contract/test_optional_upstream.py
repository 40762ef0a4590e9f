"""`required: false`: clients connect without an upstream that is down, and later ones have it when it is back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ConnectionClosedByBroker, NackError

from tests.contract.receiving import Inbox
from tests.contract.relay import Relay
from tests.contract.target import HOST, Target, Witness, fan_config, unique
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import eventually
from trabbits.testing.trabbits_process import TrabbitsProcess


class Door(Relay):
    """A relay whose port is its own from the start, but where nobody listens until it is opened."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket()
        self._listener.bind((HOST, 0))
        self.port = self._listener.getsockname()[1]

    def open(self) -> None:
        """Take connections from now on."""
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()


@pytest.fixture
def door(rabbit_b: RabbitNode) -> Iterator[Door]:
    """What stands before node B, closed."""
    door = Door(rabbit_b.address)
    with door:
        yield door


def optional_config(rabbit_a: RabbitNode, rabbit_b: RabbitNode, door: Door, **of_b: Any) -> dict[str, Any]:
    """Upstream a, and upstream b that is not required, behind the door."""
    config = fan_config(rabbit_a, rabbit_b)
    config["upstreams"][1].update(address=f"{HOST}:{door.port}", required=False, **of_b)
    return config


@pytest.fixture
def half(
    trabbits: ProxyFactory,
    door: Door,
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    witness_a: Witness,
    witness_b: Witness,
) -> Iterator[Target]:
    """A fan proxy one of whose upstreams is down, and watched."""
    check = {"interval": "200ms", "recovery_interval": "200ms", "username": "guest", "password": "guest"}
    proxy = trabbits(optional_config(rabbit_a, rabbit_b, door, health_check=check))
    target = Target("fan", proxy, {"a": rabbit_a, "b": rabbit_b}, {"a": witness_a, "b": witness_b})
    yield target
    target.close_all()


def test_clients_work_with_what_is_there(half: Target) -> None:
    channel = half.channel()
    assert isinstance(half.address, TrabbitsProcess)
    half.address.wait_for_log(event="upstream_skipped", upstream="b")
    queue = half.spread_queue(channel)
    assert not half.at("b").has_queue(queue)
    channel.confirm_delivery()
    half.publish_to(channel, "a", queue, b"one", mandatory=True)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(1)
    assert inbox.bodies == [b"one"]
    inbox.deliveries[0].ack()
    channel.queue_delete(queue)


def test_what_is_for_the_missing_one_is_rejected(half: Target) -> None:
    """In confirm mode one by one, in sequence; otherwise the channel says why it is closed."""
    channel = half.channel()
    channel.confirm_delivery()
    queue = half.spread_queue(channel)
    for number in range(3):
        half.publish_to(channel, "a", queue, b"a%d" % number)
        with pytest.raises(NackError):
            half.publish_to(channel, "b", queue, b"b%d" % number)
    assert half.at("a").take(queue) == [b"a0", b"a1", b"a2"]
    channel.queue_delete(queue)
    plain = channel.connection.channel()
    half.publish_to(plain, "b", "q", b"lost otherwise")
    with pytest.raises(ChannelClosedByBroker) as closed:
        plain.queue_declare(unique("never"), passive=True)
    assert closed.value.reply_code == 404
    for word in ("upstream 'b'", "exchange 'amq.direct'", "key 'b.q'"):
        assert word in closed.value.reply_text
    assert isinstance(half.address, TrabbitsProcess)
    half.address.wait_for_log(event="upstream_not_attached")
    assert len(half.address.find_logs(event="upstream_not_attached")) == 1


def test_later_sessions_have_it_when_it_is_back(half: Target, door: Door) -> None:
    early = half.channel()
    early.confirm_delivery()
    door.open()

    def reaches_b() -> BlockingChannel | None:
        channel = half.channel()
        channel.confirm_delivery()
        try:
            half.publish_to(channel, "b", "nobody", b"there?")
        except NackError:
            channel.connection.close()
            return None
        return channel

    channel = eventually(reaches_b, what="upstream b attached")
    queue = half.spread_queue(channel)
    half.publish_to(channel, "b", queue, b"for b", mandatory=True)
    assert half.at("b").take(queue) == [b"for b"]
    channel.queue_delete(queue)
    # The session that began without it goes on without it.
    with pytest.raises(NackError):
        half.publish_to(early, "b", "nobody", b"there?")


def test_losing_it_later_is_as_losing_any(half: Target, door: Door) -> None:
    door.open()
    proxy = half.address
    assert isinstance(proxy, TrabbitsProcess)

    def attached() -> Any:
        seen = len(proxy.logs)
        connection = half.connect()
        opened = proxy.wait_for_log(event="client_opened", after=seen)
        return connection if "b" in opened["upstreams"] else None

    connection = eventually(attached, what="upstream b attached")
    door.cut()
    with pytest.raises(ConnectionClosedByBroker) as closed:
        while True:
            connection.process_data_events(time_limit=1)
    assert closed.value.reply_code == 320
    assert "upstream 'b'" in closed.value.reply_text


def test_what_it_says_about_the_client_still_counts(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, door: Door, vhost: str
) -> None:
    """Wrong credentials, and a virtual host that only the other one has."""
    door.open()
    proxy = trabbits(optional_config(rabbit_a, rabbit_b, door))
    wrong = pika.URLParameters(proxy.url(password="wrong"))
    with pytest.raises(AMQPConnectionError, match="403"):
        pika.BlockingConnection(wrong)
    assert rabbit_b.management is not None
    rabbit_b.management.delete_vhost(vhost)
    try:
        with pytest.raises(AMQPConnectionError, match="530"):
            pika.BlockingConnection(pika.URLParameters(proxy.url(vhost)))
    finally:
        rabbit_b.management.add_vhost(vhost)


def test_clients_are_told_when_none_is_there(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, door: Door
) -> None:
    config = optional_config(rabbit_a, rabbit_b, door)
    config["upstreams"] = [{**upstream, "required": False} for upstream in config["upstreams"]]
    config["upstreams"][0]["address"] = f"{HOST}:{door.port}"
    proxy = trabbits(config)
    with pytest.raises(AMQPConnectionError, match="320"):
        pika.BlockingConnection(pika.URLParameters(proxy.url()))
    proxy.wait_for_log(event="upstream_skipped")
