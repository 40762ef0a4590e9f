"""basic.consume, cancel and deliver: one consumer tag for all upstreams, cancelled when nobody is left consuming."""

from __future__ import annotations

import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from tests.contract.receiving import Inbox, barrier, pump
from tests.contract.target import Target, each_upstream, only_fan
from trabbits.testing.raw_client import CAPABILITIES, eventually


def test_a_consumer_gets_the_messages_of_all_upstreams_under_its_tag(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 10)
    inbox = Inbox.consuming(channel, queue, consumer_tag="mine")
    inbox.wait_for(len(bodies))
    assert sorted(inbox.bodies) == sorted(bodies)
    assert {delivery.method.consumer_tag for delivery in inbox.deliveries} == {"mine"}
    if target.links == 2:
        for upstream in (b"a", b"b"):
            received = [body for body in inbox.bodies if body[:1] == upstream]
            assert received == [b"%s%d" % (upstream, number) for number in range(10)]
    channel.queue_delete(queue)


def test_an_empty_consumer_tag_is_replaced_by_a_new_one(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    queue = client.own_queue()
    consume = commands.Basic.Consume(queue=queue, no_ack=True)
    tags = [client.call(consume, commands.Basic.ConsumeOk).consumer_tag for _ in "12"]
    assert all(tags)
    assert tags[0] != tags[1]
    client.publish("", queue, b"one")
    client.publish("", queue, b"two")
    delivered = [client.expect_content(commands.Basic.Deliver) for _ in "12"]
    assert {content.method.consumer_tag for content in delivered} <= set(tags)
    assert client.call(commands.Basic.Cancel(consumer_tag=tags[0]), commands.Basic.CancelOk).consumer_tag == tags[0]


def test_the_same_tag_may_be_used_on_two_channels(target: Target) -> None:
    connection = target.connect()
    first, second = connection.channel(), connection.channel()
    queue = target.spread_queue(first)
    inboxes = [Inbox.consuming(channel, queue, consumer_tag="same") for channel in (first, second)]
    target.fill(queue, 10)
    pump(connection, lambda: sum(len(inbox.deliveries) for inbox in inboxes) == 20)
    assert all(inbox.deliveries for inbox in inboxes)
    first.queue_delete(queue)


def test_two_consumers_on_one_channel_share_the_messages(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    inboxes = [Inbox.consuming(channel, queue, auto_ack=True) for _ in "12"]
    target.fill(queue, 20)
    pump(channel.connection, lambda: sum(len(inbox.deliveries) for inbox in inboxes) == 40)
    for inbox in inboxes:
        assert inbox.deliveries
        assert {delivery.method.consumer_tag for delivery in inbox.deliveries} == {inbox.consumer_tag}
    channel.queue_delete(queue)


def test_a_cancelled_consumer_gets_nothing_more_and_keeps_what_it_has(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 2)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(4)
    channel.basic_cancel(inbox.consumer_tag)
    late = target.fill(queue, 2)
    barrier(channel, queue)
    assert len(inbox.deliveries) == 4
    assert target.depth(queue) == len(late)
    inbox.deliveries[-1].ack(multiple=True)
    channel.close()
    assert target.depth(queue) == len(late)
    assert all(place.consumers(queue) == 0 for place in target.places)
    target.channel().queue_delete(queue)


def test_a_cancel_gives_back_what_the_client_has_not_seen(target: Target) -> None:
    """With prefetch 1 the client holds one message; what waits behind it must not be lost with the consumer."""
    connection = target.connect()
    channel, other = connection.channel(), connection.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 5)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(1)
    barrier(channel, queue)
    channel.basic_cancel(inbox.consumer_tag)
    rest = Inbox.consuming(other, queue)
    rest.wait_for(len(bodies) - 1)
    assert len(inbox.deliveries) == 1
    assert sorted(rest.bodies + inbox.bodies) == sorted(bodies)
    inbox.deliveries[0].ack()
    barrier(channel, queue)
    rest.deliveries[-1].ack(multiple=True)
    barrier(other, queue)
    assert channel.queue_delete(queue).method.message_count == 0


def test_cancelling_an_unknown_tag_is_answered(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    cancel = commands.Basic.Cancel(consumer_tag="unknown")
    assert client.call(cancel, commands.Basic.CancelOk).consumer_tag == "unknown"


def test_a_tag_is_free_again_after_cancel(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    for _ in range(3):
        inbox = Inbox.consuming(channel, queue, consumer_tag="again", auto_ack=True)
        target.fill(queue, 1)
        inbox.wait_for(2)
        channel.basic_cancel("again")
    channel.queue_delete(queue)


def test_without_acknowledgements_messages_are_gone_when_delivered(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 10)
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    inbox.wait_for(20)
    assert inbox.tags == list(range(1, 21))
    channel.close()
    assert target.depth(queue) == 0
    target.channel().queue_delete(queue)


@each_upstream
def test_a_consumer_that_wants_to_be_alone_keeps_others_away(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    with target.at(upstream).channel() as witness:
        witness.basic_consume(queue, lambda *_: None, exclusive=True)
        with pytest.raises(ChannelClosedByBroker) as caught:
            channel.basic_consume(queue, lambda *_: None)
    assert caught.value.reply_code == 403
    assert f"queue '{queue}' in vhost '/' in exclusive use" in caught.value.reply_text
    alone = target.channel()
    alone.basic_consume(queue, lambda *_: None, exclusive=True)
    for place in target.places:
        with place.channel() as witness, pytest.raises(ChannelClosedByBroker):
            witness.basic_consume(queue, lambda *_: None)
    alone.queue_delete(queue)


def test_the_consumer_of_higher_priority_is_served_first(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    low = Inbox.consuming(channel, queue, auto_ack=True, arguments={"x-priority": -1})
    high = Inbox.consuming(channel, queue, auto_ack=True, arguments={"x-priority": 9})
    target.fill(queue, 3)
    high.wait_for(6)
    assert not low.deliveries
    channel.queue_delete(queue)


def test_a_queue_deleted_on_every_upstream_cancels_its_consumer_once(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    setup = target.channel()
    queue = target.spread_queue(setup)
    client.call(commands.Basic.Consume(queue=queue, consumer_tag="c"), commands.Basic.ConsumeOk)
    for place in target.places:
        with place.channel() as witness:
            witness.queue_delete(queue)
    assert client.expect(commands.Basic.Cancel, 1).consumer_tag == "c"
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    other = client.own_queue()
    client.call(commands.Basic.Consume(queue=other, consumer_tag="c"), commands.Basic.ConsumeOk)


def test_a_queue_deleted_through_the_target_cancels_its_consumer_once(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    inbox = Inbox.consuming(channel, queue)
    target.channel().queue_delete(queue)
    pump(channel.connection, lambda: cancelled)
    channel.basic_qos(prefetch_count=1)
    channel.connection.process_data_events(time_limit=0)
    assert cancelled == [inbox.consumer_tag]


@only_fan
@each_upstream
def test_a_consumer_lives_on_while_one_upstream_still_has_the_queue(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    inbox = Inbox.consuming(channel, queue)
    with target.at(upstream).channel() as witness:
        witness.queue_delete(queue)
    rest = "a" if upstream == "b" else "b"
    target.at(rest).put(queue, b"still served")
    inbox.wait_for(1)
    assert inbox.bodies == [b"still served"]
    channel.basic_qos(prefetch_count=5)
    channel.connection.process_data_events(time_limit=0)
    assert not cancelled
    inbox.deliveries[0].ack()
    with target.at(rest).channel() as witness:
        witness.queue_delete(queue)
    pump(channel.connection, lambda: cancelled)
    assert cancelled == [inbox.consumer_tag]


@only_fan
@each_upstream
def test_a_consumer_cancelled_by_one_upstream_can_still_be_cancelled(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    inbox = Inbox.consuming(channel, queue)
    with target.at(upstream).channel() as witness:
        witness.queue_delete(queue)
    channel.basic_cancel(inbox.consumer_tag)
    rest = target.at("a" if upstream == "b" else "b")
    eventually(lambda: rest.consumers(queue) == 0)
    channel.queue_delete(queue)


def test_a_client_that_does_not_understand_cancels_gets_none(target: Target) -> None:
    capabilities = {name: able for name, able in CAPABILITIES.items() if name != "consumer_cancel_notify"}
    client = target.raw(client_properties={"capabilities": capabilities})
    client.open_channel(1)
    queue = client.own_queue()
    client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    client.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)
    for _ in range(3):
        client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    client.close_politely()


def test_consume_from_a_queue_missing_on_one_upstream_is_404(target: Target) -> None:
    connection = target.connect()
    channel = connection.channel()
    queue = target.spread_queue(channel)
    with target.at("b").channel() as witness:
        witness.queue_delete(queue)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.basic_consume(queue, lambda *_: None)
    assert caught.value.reply_code == 404
    tidy = connection.channel()
    if target.links == 2:
        eventually(lambda: target.at("a").consumers(queue) == 0)
    tidy.queue_delete(queue)


def test_deliveries_that_follow_consume_ok_at_once_are_not_lost(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    setup = target.channel()
    queue = target.spread_queue(setup)
    bodies = target.fill(queue, 50)
    client.call(commands.Basic.Consume(queue=queue, consumer_tag="c", no_ack=True), commands.Basic.ConsumeOk)
    delivered = [client.expect_content(commands.Basic.Deliver) for _ in bodies]
    assert sorted(content.body for content in delivered) == sorted(bodies)
    assert [content.method.delivery_tag for content in delivered] == list(range(1, 101))
    setup.queue_delete(queue)


@only_fan
@each_upstream
def test_a_queue_deleted_on_one_upstream_leaves_what_was_delivered_settleable(target: Target, upstream: str) -> None:
    """With prefetch 1, what waits in the proxy may be of the queue that is gone: settling it harms nothing."""
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 3)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(1)
    barrier(channel, queue)
    with target.at(upstream).channel() as witness:
        witness.queue_delete(queue)
    rest = "a" if upstream == "b" else "b"
    expected = {f"{rest}{number}".encode() for number in range(3)}
    while not expected <= set(inbox.bodies):
        count = len(inbox.deliveries)
        inbox.deliveries[-1].ack()
        inbox.wait_for(count + 1)
    inbox.deliveries[-1].ack()
    channel.basic_qos(prefetch_count=2)
    channel.queue_delete(queue)
