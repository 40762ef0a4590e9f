"""basic.ack, nack and reject: each to the link that delivered, `multiple` to all up to the right tag."""

from __future__ import annotations

import random

import pytest
from pamqp import base, commands
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.contract.receiving import Inbox, barrier
from tests.contract.target import Target, unique


def holding(target: Target, each: int) -> tuple[BlockingChannel, str, Inbox]:
    """A channel that holds `each` unacknowledged messages of a and as many of b."""
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, each)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(2 * each)
    return channel, queue, inbox


def left_after(target: Target, channel: BlockingChannel, queue: str) -> set[bytes]:
    """What comes back when the channel's consumer goes: everything that was not settled."""
    barrier(channel, queue)
    channel.connection.close()
    other = target.channel()
    count = other.queue_declare(queue, passive=True).method.message_count
    inbox = Inbox.consuming(other, queue, auto_ack=True)
    inbox.wait_for(count)
    barrier(other, queue)
    assert len(inbox.deliveries) == count
    assert all(delivery.method.redelivered for delivery in inbox.deliveries)
    other.queue_delete(queue)
    return set(inbox.bodies)


def bodies_of(inbox: Inbox, tags: set[int]) -> set[bytes]:
    """The bodies that came with these delivery tags."""
    return {delivery.body for delivery in inbox.deliveries if delivery.tag in tags}


def test_delivery_tags_are_one_gapless_sequence(target: Target) -> None:
    _, _, inbox = holding(target, 50)
    assert inbox.tags == list(range(1, 101))


@pytest.mark.parametrize("tags", [{1}, {10}, {5, 6}, {9, 2, 7}, set(range(1, 11))], ids=str)
def test_single_acks_settle_just_their_message(target: Target, tags: set[int]) -> None:
    channel, queue, inbox = holding(target, 5)
    for tag in tags:
        channel.basic_ack(tag)
    assert left_after(target, channel, queue) == set(inbox.bodies) - bodies_of(inbox, tags)


@pytest.mark.parametrize("upto", [1, 4, 7, 10])
def test_an_ack_of_multiple_settles_everything_up_to_its_tag_on_both_upstreams(target: Target, upto: int) -> None:
    channel, queue, inbox = holding(target, 5)
    channel.basic_ack(upto, multiple=True)
    assert left_after(target, channel, queue) == bodies_of(inbox, set(range(upto + 1, 11)))


def test_single_and_multiple_acks_mix(target: Target) -> None:
    channel, queue, inbox = holding(target, 10)
    channel.basic_ack(3)
    channel.basic_ack(12)
    channel.basic_ack(6, multiple=True)
    channel.basic_nack(8, requeue=False)
    channel.basic_ack(14, multiple=True)
    channel.basic_ack(20)
    assert left_after(target, channel, queue) == bodies_of(inbox, set(range(15, 20)))


def test_tag_zero_with_multiple_means_all(target: Target) -> None:
    channel, queue, _ = holding(target, 5)
    channel.basic_ack(2)
    channel.basic_ack(0, multiple=True)
    assert left_after(target, channel, queue) == set()


def test_tag_zero_with_multiple_is_fine_when_nothing_is_held(target: Target) -> None:
    channel, queue, _ = holding(target, 1)
    for _ in range(3):
        channel.basic_ack(0, multiple=True)
    assert left_after(target, channel, queue) == set()


@pytest.mark.parametrize("requeue", [True, False], ids=["requeue", "discard"])
@pytest.mark.parametrize("upto", [0, 1, 6, 10])
def test_a_nack_of_multiple_reaches_both_upstreams(target: Target, requeue: bool, upto: int) -> None:
    channel, queue, inbox = holding(target, 5)
    if requeue:
        channel.basic_cancel(inbox.consumer_tag)
    channel.basic_nack(upto, multiple=True, requeue=requeue)
    barrier(channel, queue)
    settled = set(range(1, (upto or 10) + 1))
    assert target.depth(queue) == (len(settled) if requeue else 0)
    expected = set(inbox.bodies) if requeue else set(inbox.bodies) - bodies_of(inbox, settled)
    assert left_after(target, channel, queue) == expected


@pytest.mark.parametrize("method", ["basic_nack", "basic_reject"])
def test_a_requeued_message_comes_again_with_a_new_tag(target: Target, method: str) -> None:
    channel, queue, inbox = holding(target, 2)
    for delivery in list(inbox.deliveries):
        getattr(channel, method)(delivery.tag, requeue=True)
    inbox.wait_for(8)
    assert inbox.tags == list(range(1, 9))
    assert sorted(inbox.bodies[4:]) == sorted(inbox.bodies[:4])
    assert all(delivery.method.redelivered for delivery in inbox.deliveries[4:])
    inbox.deliveries[-1].ack(multiple=True)
    assert left_after(target, channel, queue) == set()


@pytest.mark.parametrize("method", ["basic_nack", "basic_reject"])
def test_a_discarded_message_is_dead_lettered_where_it_was(target: Target, method: str) -> None:
    channel = target.channel()
    morgue = unique("morgue")
    channel.queue_declare(morgue)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": morgue}
    queue = target.spread_queue(channel, arguments=arguments)
    bodies = target.fill(queue, 3)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(6)
    dead = Inbox.consuming(channel, morgue, auto_ack=True)
    for delivery in inbox.deliveries:
        getattr(channel, method)(delivery.tag, requeue=False)
    dead.wait_for(6)
    assert sorted(dead.bodies) == sorted(bodies)
    assert dead.deliveries[0].properties.headers["x-death"][0]["queue"] == queue
    for name in (queue, morgue):
        channel.queue_delete(name)


UNKNOWN: list[tuple[str, base.Frame, int]] = [
    ("ack beyond", commands.Basic.Ack(delivery_tag=11), 80),
    ("ack far beyond", commands.Basic.Ack(delivery_tag=2**62 + 5), 80),
    ("ack of multiple beyond", commands.Basic.Ack(delivery_tag=11, multiple=True), 80),
    ("ack of tag zero", commands.Basic.Ack(delivery_tag=0), 80),
    ("nack beyond", commands.Basic.Nack(delivery_tag=11), 120),
    ("nack of multiple beyond", commands.Basic.Nack(delivery_tag=11, multiple=True), 120),
    ("reject beyond", commands.Basic.Reject(delivery_tag=11), 90),
]


@pytest.mark.parametrize(("method", "method_id"), [row[1:] for row in UNKNOWN], ids=[row[0] for row in UNKNOWN])
def test_an_unknown_tag_is_406(target: Target, method: base.Frame, method_id: int) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    target.fill(queue, 5)
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    for _ in range(10):
        client.expect_content(commands.Basic.Deliver)
    client.send(method, channel=1)
    close = client.expect(commands.Channel.Close, 1)
    assert (close.reply_code, close.class_id, close.method_id) == (406, 60, method_id)
    assert close.reply_text == f"PRECONDITION_FAILED - unknown delivery tag {method['delivery_tag']!s}"
    client.send(commands.Channel.CloseOk(), channel=1)
    client.open_channel(1)
    count = client.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk).message_count
    assert count == 10


@pytest.mark.parametrize("tag", [1, 2])
def test_a_second_ack_of_the_same_message_is_406(target: Target, tag: int) -> None:
    channel, queue, _ = holding(target, 1)
    channel.basic_ack(tag)
    channel.basic_ack(tag)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.queue_declare(queue, passive=True)
    assert caught.value.reply_code == 406
    assert f"unknown delivery tag {tag}" in caught.value.reply_text


def test_an_ack_of_multiple_up_to_a_settled_tag_is_406_and_settles_nothing(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    target.fill(queue, 5)
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    for _ in range(10):
        client.expect_content(commands.Basic.Deliver)
    client.send(commands.Basic.Ack(delivery_tag=6), commands.Basic.Ack(delivery_tag=6, multiple=True), channel=1)
    assert client.expect(commands.Channel.Close, 1).reply_text == "PRECONDITION_FAILED - unknown delivery tag 6"
    client.send(commands.Channel.CloseOk(), channel=1)
    client.open_channel(1)
    assert client.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk).message_count == 9


def test_an_ack_for_a_delivery_that_wants_none_is_406(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, exclusive=True)
    target.publish_to(channel, "a", queue, b"no ack")
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    inbox.wait_for(1)
    channel.basic_ack(1)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.basic_qos(prefetch_count=1)
    assert caught.value.reply_code == 406


def test_tags_of_other_channels_mean_nothing(target: Target) -> None:
    channel, queue, _ = holding(target, 2)
    other = channel.connection.channel()
    other.basic_ack(1)
    with pytest.raises(ChannelClosedByBroker) as caught:
        other.basic_qos(prefetch_count=1)
    assert caught.value.reply_code == 406
    channel.basic_ack(4, multiple=True)
    assert left_after(target, channel, queue) == set()


def test_deliveries_with_and_without_acknowledgement_share_the_sequence(target: Target) -> None:
    channel = target.channel()
    careful, careless = target.spread_queue(channel), target.spread_queue(channel)
    bodies = target.fill(careful, 10)
    target.fill(careless, 10)
    inbox = Inbox.consuming(channel, careful)
    inbox.attend(channel, careless, auto_ack=True)
    inbox.wait_for(40)
    assert inbox.tags == list(range(1, 41))
    held = [delivery for delivery in inbox.deliveries if delivery.method.consumer_tag != inbox.consumer_tag]
    assert len(held) == len(bodies)
    held[9].ack(multiple=True)
    expected = {delivery.body for delivery in held[10:]}
    assert left_after(target, channel, careful) == expected
    target.channel().queue_delete(careless)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_order_of_settling_settles_exactly_that(target: Target, seed: int) -> None:
    """Random singles and multiples, against a set."""
    choose = random.Random(seed)
    channel, queue, inbox = holding(target, 40)
    held = set(range(1, 81))
    while len(held) > 20:
        tag = choose.choice(sorted(held))
        multiple = choose.random() < 0.1
        if choose.random() < 0.5:
            channel.basic_ack(tag, multiple=multiple)
        else:
            channel.basic_nack(tag, multiple=multiple, requeue=False)
        held -= {t for t in held if t <= tag} if multiple else {tag}
    assert left_after(target, channel, queue) == bodies_of(inbox, held)
