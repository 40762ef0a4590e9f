"""What a queue does by its arguments: it ends unused, lets messages expire, is full, serves one consumer."""

from __future__ import annotations

import time

import pika
import pytest
from pamqp import commands
from pamqp.common import FieldTable
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import NackError

from tests.contract.target import Target, unique, unproxied
from trabbits.testing.raw_client import eventually

pytestmark = unproxied

#: No argument limits these by themselves.
TEN_OCTETS = {"x-max-length-bytes": 10}
LEASE = 2.0


def confirming(target: Target) -> BlockingChannel:
    """A channel on which a message is in its queues, or refused by them, when it is published."""
    channel = target.channel()
    channel.confirm_delivery()
    return channel


def put(channel: BlockingChannel, queue: str, *bodies: bytes, **properties: str) -> list[bytes]:
    """Publishes to `queue`; the bodies that were refused."""
    refused = []
    for body in bodies:
        try:
            channel.basic_publish("", queue, body, pika.BasicProperties(**properties))
        except NackError:
            refused.append(body)
    return refused


def ready(channel: BlockingChannel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def taken(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Everything in `queue`, removed from it."""
    bodies: list[bytes] = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body)


def test_a_queue_that_is_asked_for_stays_and_one_that_nobody_uses_goes(target: Target) -> None:
    """A passive declare is use: it begins the queue's time anew."""
    channel = target.channel()
    queue = unique("leased")
    channel.queue_declare(queue, arguments={"x-expires": int(LEASE * 1000)})
    enough = time.monotonic() + 1.5 * LEASE
    while time.monotonic() < enough:
        channel.queue_declare(queue, passive=True)
        channel.connection.process_data_events(time_limit=0.02)
    management = target.node("a").management
    assert management is not None
    eventually(lambda: management.queue("/", queue) is None, what="the queue is gone")


def test_a_message_has_no_more_time_than_it_was_given(target: Target) -> None:
    channel = confirming(target)
    queue = channel.queue_declare("", exclusive=True, arguments={"x-message-ttl": 600_000}).method.queue
    put(channel, queue, b"short", expiration="1")
    eventually(lambda: ready(channel, queue) == 0)
    put(channel, queue, b"long", expiration="600000")
    assert taken(channel, queue) == [b"long"]


def test_a_queue_that_is_full_by_octets_drops_the_oldest(target: Target) -> None:
    channel = confirming(target)
    queue = channel.queue_declare("", exclusive=True, arguments=TEN_OCTETS).method.queue
    assert put(channel, queue, b"12345", b"67890", b"x") == []
    assert taken(channel, queue) == [b"67890", b"x"]
    assert put(channel, queue, b"more than ten octets") == []
    assert taken(channel, queue) == []


@pytest.mark.parametrize(("overflow", "buried"), [("reject-publish", []), ("reject-publish-dlx", [b"x", b"y"])])
def test_a_queue_that_is_full_by_octets_refuses_the_newest(target: Target, overflow: str, buried: list[bytes]) -> None:
    channel = confirming(target)
    morgue = channel.queue_declare("", exclusive=True).method.queue
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": morgue, "x-overflow": overflow}
    queue = channel.queue_declare("", exclusive=True, arguments={**TEN_OCTETS, **arguments}).method.queue
    assert put(channel, queue, b"12345", b"67890", b"x", b"y") == [b"x", b"y"]
    eventually(lambda: ready(channel, morgue) == len(buried))
    assert channel.basic_get(queue, auto_ack=True)[2] == b"12345"
    assert put(channel, queue, b"z") == []
    assert taken(channel, queue) == [b"67890", b"z"]
    assert taken(channel, morgue) == buried


def test_one_consumer_is_active_until_it_leaves(target: Target) -> None:
    active, waiting = target.raw(), target.raw()
    arguments: FieldTable = {"x-single-active-consumer": True}
    declare = commands.Queue.Declare(queue=unique("single"), auto_delete=True, arguments=arguments)
    for client in (active, waiting):
        client.open_channel()
        queue = client.call(declare, commands.Queue.DeclareOk).queue or ""
        client.call(commands.Basic.Qos(prefetch_count=1 if client is active else 0), commands.Basic.QosOk)
        client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    for body in (b"1", b"2", b"3"):
        active.publish("", queue, body)
    assert active.expect_content(commands.Basic.Deliver).body == b"1"
    active.send(commands.Basic.Ack(1), channel=1)
    # What the active consumer does not take yet waits for it: the next frame has to be this one.
    assert active.expect_content(commands.Basic.Deliver).body == b"2"
    waiting.call(declare, commands.Queue.DeclareOk)
    active.close()
    for body in (b"2", b"3"):
        delivered = waiting.expect_content(commands.Basic.Deliver)
        assert (delivered.body, delivered.method.redelivered) == (body, body == b"2")
