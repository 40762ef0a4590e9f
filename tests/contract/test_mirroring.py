"""The strategy `mirror` in front of two brokers: both hold the message, and the client hears of one of them only."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import NackError, UnroutableError

from tests.admin.test_metrics_running import page_of
from tests.clients import eventually
from tests.contract.conftest import running
from tests.contract.target import Witness, fan_config, parameters, unique
from tests.proxy import TrabbitsProcess
from trabbits.testing.rabbitmq import RabbitNode

MAX_SIZE = 300_000
#: A queue of this kind rejects every message.
FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}


@pytest.fixture(scope="module")
def proxy(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """Upstream a gets everything but keys of b, and b gets copies of that."""
    mirror = {"plugin": "mirror", "options": {"to": "b", "max_size": MAX_SIZE}}
    yield from running(TrabbitsProcess(fan_config(rabbit_a, rabbit_b, routing=mirror)))


@pytest.fixture
def connection(proxy: TrabbitsProcess) -> Iterator[BlockingConnection]:
    connection = BlockingConnection(parameters(proxy))
    yield connection
    assert connection.is_open, "a copy closed the client's connection"
    connection.close()


@pytest.fixture
def channel(connection: BlockingConnection) -> Iterator[BlockingChannel]:
    """One with confirms."""
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    assert channel.is_open, "a copy closed the client's channel"


@pytest.fixture
def queue(channel: BlockingChannel, witness_a: Witness, witness_b: Witness) -> Iterator[str]:
    """A queue at both brokers."""
    queue = unique("mirrored")
    channel.queue_declare(queue)
    yield queue
    for witness in (witness_a, witness_b):
        with witness.channel() as behind:
            behind.queue_delete(queue)


def holds(witness: Witness, queue: str, expected: list[bytes]) -> None:
    """The broker's queue comes to hold this: a copy may arrive after the confirm."""
    eventually(lambda: witness.depth(queue) == len(expected), 10)
    assert witness.take(queue) == expected


def test_both_brokers_hold_the_message(
    channel: BlockingChannel, queue: str, witness_a: Witness, witness_b: Witness
) -> None:
    """In order, empty ones and those of several frames as well, with their properties."""
    bodies = [b"", b"small", b"x" * MAX_SIZE, b"after"]
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(headers={"n": len(body)}), mandatory=True)
    holds(witness_a, queue, bodies)
    with witness_b.channel() as behind:
        eventually(lambda: witness_b.depth(queue) == 4, 10)
        _, properties, body = behind.basic_get(queue, auto_ack=True)
        assert (properties.headers, body) == ({"n": 0}, b"")
    holds(witness_b, queue, bodies[1:])


def test_what_belongs_to_the_other_broker_is_there_once(
    channel: BlockingChannel, queue: str, witness_a: Witness, witness_b: Witness
) -> None:
    exchange = unique("mirrored")
    channel.exchange_declare(exchange, "topic", auto_delete=True)
    channel.queue_bind(queue, exchange, "#")
    channel.basic_publish(exchange, "b.x", b"for b")
    channel.basic_publish(exchange, "x", b"for a")
    holds(witness_b, queue, [b"for b", b"for a"])
    holds(witness_a, queue, [b"for a"])


def test_the_authoritative_broker_confirms(channel: BlockingChannel, witness_a: Witness, witness_b: Witness) -> None:
    """Whether the other one rejects the copy or cannot route it does not matter."""
    full, missing = unique("full"), unique("missing")
    with witness_a.channel() as at_a, witness_b.channel() as at_b:
        at_a.queue_declare(full, exclusive=True)
        at_b.queue_declare(full, exclusive=True, arguments=FULL)
        at_a.queue_declare(missing, exclusive=True)
        for queue in (full, missing):
            channel.basic_publish("", queue, b"x", mandatory=True)
        assert witness_a.depth(full) == witness_a.depth(missing) == 1


def test_the_authoritative_broker_rejects_and_returns(
    channel: BlockingChannel, witness_a: Witness, witness_b: Witness
) -> None:
    """Whether the other one takes the copy does not matter either."""
    full, missing = unique("full"), unique("missing")
    with witness_a.channel() as at_a, witness_b.channel() as at_b:
        at_a.queue_declare(full, exclusive=True, arguments=FULL)
        at_b.queue_declare(full, exclusive=True)
        at_b.queue_declare(missing, exclusive=True)
        with pytest.raises(NackError):
            channel.basic_publish("", full, b"rejected")
        with pytest.raises(UnroutableError):
            channel.basic_publish("", missing, b"returned", mandatory=True)
        holds(witness_b, full, [b"rejected"])
        holds(witness_b, missing, [b"returned"])


def test_an_exchange_that_only_the_authoritative_broker_has(
    proxy: TrabbitsProcess, channel: BlockingChannel, queue: str, witness_a: Witness, witness_b: Witness
) -> None:
    """The other one closes the channel of copies for each of them; the next copy finds a new one."""
    exchange = unique("only-a")
    with witness_a.channel() as behind:
        behind.exchange_declare(exchange, "fanout", auto_delete=True)
        behind.queue_bind(queue, exchange)
    for number in range(3):
        channel.basic_publish(exchange, "x", b"%d" % number)
        eventually(lambda: copied(channel, queue, witness_b), 10)
        witness_b.take(queue)
    assert [body for body in witness_a.take(queue) if body != b"probe"] == [b"0", b"1", b"2"]
    assert len(refused(proxy, exchange)) == 1, "it is logged once for each reason and session"


def refused(proxy: TrabbitsProcess, exchange: str) -> list[object]:
    """Log lines about copies that were refused for this exchange."""
    return [each for each in proxy.logs if each.get("event") == "copy_refused" and exchange in each["text"]]


def copied(channel: BlockingChannel, queue: str, witness_b: Witness) -> bool:
    """Whether copies arrive (again): one that was sent before the broker's channel.close was read does not."""
    channel.basic_publish("", queue, b"probe")
    return witness_b.depth(queue) > 0


def test_transactions(connection: BlockingConnection, queue: str, witness_a: Witness, witness_b: Witness) -> None:
    """What is rolled back is copied nowhere; the copies do not make it a transaction over several upstreams."""
    channel = connection.channel()
    channel.tx_select()
    channel.basic_publish("", queue, b"rolled back")
    channel.tx_rollback()
    for body in (b"one", b"two"):
        channel.basic_publish("", queue, body)
    channel.tx_commit()
    channel.close()
    holds(witness_a, queue, [b"one", b"two"])
    holds(witness_b, queue, [b"one", b"two"])


def test_what_is_not_copied(
    proxy: TrabbitsProcess, channel: BlockingChannel, queue: str, witness_a: Witness, witness_b: Witness
) -> None:
    """What is too large, and requests by direct reply-to; both show in the metrics, and what follows is copied."""
    before = copies_of_b(proxy)
    channel.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True)
    request = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to")
    channel.basic_publish("", queue, b"x" * (MAX_SIZE + 1))
    channel.basic_publish("", queue, b"request", request)
    channel.basic_publish("", queue, b"small")
    holds(witness_a, queue, [b"x" * (MAX_SIZE + 1), b"request", b"small"])
    holds(witness_b, queue, [b"small"])
    assert [now - then for now, then in zip(copies_of_b(proxy), before, strict=True)] == [1, 2]


def copies_of_b(proxy: TrabbitsProcess) -> list[float]:
    """Copies for b, sent and dropped."""
    page = page_of(proxy)
    outcomes = ("sent", "dropped")
    return [page["trabbits_mirrored_messages_total", {"upstream": "b", "outcome": each}] for each in outcomes]


def test_copies_of_many_messages_at_once(
    proxy: TrabbitsProcess, queue: str, witness_a: Witness, witness_b: Witness
) -> None:
    """All of them, in order, from several connections that take small frames."""
    connections = [BlockingConnection(parameters(proxy, frame_max=4096)) for _ in range(3)]
    channels = [each.channel() for each in connections]
    bodies = [[b"%d " % who + b"%d " % number * 3000 for number in range(30)] for who in range(3)]
    for number in range(30):
        for who, channel in enumerate(channels):
            channel.basic_publish("", queue, bodies[who][number])
    for each in connections:
        each.close()
    for witness in (witness_a, witness_b):
        eventually(lambda: witness.depth(queue) == 90, 10)  # noqa: B023 - called at once
        taken = witness.take(queue)
        for who in range(3):
            assert [body for body in taken if body.startswith(b"%d " % who)] == bodies[who]
