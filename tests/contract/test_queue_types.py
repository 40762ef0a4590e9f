"""RabbitMQ's kinds of queues through the target: quorum queues, streams, priorities, limits."""

from __future__ import annotations

import pika
import pytest
from pika.exceptions import ConnectionClosedByBroker

from tests.contract.receiving import Inbox, barrier
from tests.contract.target import Target
from trabbits.testing.raw_client import eventually

QUORUM = {"x-queue-type": "quorum"}


def test_a_quorum_queue_counts_how_often_it_delivered(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, durable=True, arguments=QUORUM)
    channel.confirm_delivery()
    for number in range(10):
        target.publish_to(channel, "ab"[number % 2], queue, b"%d" % number, mandatory=True)
    channel.basic_qos(prefetch_count=3)
    inbox = Inbox.consuming(channel, queue)
    for settled in range(10):
        inbox.wait_for(settled + 1)
        inbox.deliveries[settled].nack()
    inbox.wait_for(12)
    again = [delivery for delivery in inbox.deliveries if delivery.properties.headers]
    assert again
    assert all(delivery.properties.headers["x-delivery-count"] >= 1 for delivery in again)
    channel.queue_delete(queue)


def test_every_message_of_a_quorum_queue_is_settled_once(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, durable=True, arguments=QUORUM)
    bodies = target.fill(queue, 20)
    channel.basic_qos(prefetch_count=7)
    inbox = Inbox.consuming(channel, queue)
    for upto in range(7, 41, 7):
        inbox.wait_for(upto)
        barrier(channel, queue)
        assert len(inbox.deliveries) <= upto
        inbox.deliveries[upto - 1].ack(multiple=True)
    inbox.wait_for(40)
    inbox.deliveries[-1].ack(multiple=True)
    assert sorted(inbox.bodies) == sorted(bodies)
    barrier(channel, queue)
    channel.close()
    eventually(lambda: target.depth(queue) == 0)
    target.channel().queue_delete(queue)


def test_a_quorum_queue_refuses_a_global_prefetch_with_540(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, durable=True, arguments=QUORUM)
    channel.basic_qos(prefetch_count=3, global_qos=True)
    with pytest.raises(ConnectionClosedByBroker) as caught:
        channel.basic_consume(queue, lambda *_: None)
    assert caught.value.reply_code == 540
    assert "does not support global qos" in caught.value.reply_text
    target.channel().queue_delete(queue)


def test_a_stream_is_read_from_its_beginning_again_and_again(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, durable=True, arguments={"x-queue-type": "stream"})
    bodies = target.fill(queue, 10)
    for _ in range(2):
        reader = target.channel()
        reader.basic_qos(prefetch_count=100)
        inbox = Inbox.consuming(reader, queue, arguments={"x-stream-offset": "first"})
        inbox.wait_for(len(bodies))
        assert sorted(inbox.bodies) == sorted(bodies)
        inbox.deliveries[-1].ack(multiple=True)
        reader.close()
    channel.queue_delete(queue)


def test_more_important_messages_overtake_others_of_their_upstream(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, arguments={"x-max-priority": 5})
    for upstream in ("a", "b"):
        for priority in (1, 5, 3):
            body = f"{upstream}{priority}".encode()
            target.publish_to(channel, upstream, queue, body, properties=pika.BasicProperties(priority=priority))
    eventually(lambda: target.depth(queue) == 6)
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    inbox.wait_for(6)
    for upstream in ("a", "b"):
        mine = [body[1:] for body in inbox.bodies if body[:1] == upstream.encode()]
        assert mine == [b"5", b"3", b"1"]
    channel.queue_delete(queue)


def test_expired_messages_are_dead_lettered(target: Target) -> None:
    channel = target.channel()
    morgue = channel.queue_declare("", exclusive=True).method.queue
    arguments = {"x-message-ttl": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": morgue}
    queue = target.spread_queue(channel, arguments=arguments)
    dead = Inbox.consuming(channel, morgue, auto_ack=True)
    for upstream in ("a", "b"):
        target.publish_to(channel, upstream, queue, upstream.encode())
    dead.wait_for(2)
    assert sorted(dead.bodies) == [b"a", b"b"]
    assert {delivery.properties.headers["x-first-death-reason"] for delivery in dead.deliveries} == {"expired"}
    channel.queue_delete(queue)
