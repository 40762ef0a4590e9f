"""basic.get and basic.recover: upstreams take turns, counts add up, what was not settled comes again."""

from __future__ import annotations

import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from tests.contract.receiving import Inbox, barrier
from tests.contract.target import Target, each_upstream


def test_an_empty_queue_gives_nothing(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, exclusive=True)
    assert channel.basic_get(queue) == (None, None, None)


@each_upstream
def test_a_message_is_found_on_either_upstream(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    for _ in range(3):
        target.at(upstream).put(queue, b"found")
        method, _, body = channel.basic_get(queue, auto_ack=True)
        assert body == b"found"
        assert (method.routing_key, method.exchange, method.redelivered) == (queue, "", False)
        assert channel.basic_get(queue) == (None, None, None)
    channel.queue_delete(queue)


def test_the_upstreams_take_turns_and_the_counts_add_up(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 4)
    got: list[bytes] = []
    for remaining in range(len(bodies) - 1, -1, -1):
        method, _, body = channel.basic_get(queue)
        assert method.message_count == remaining
        assert method.delivery_tag == len(got) + 1
        got.append(body)
    assert sorted(got) == sorted(bodies)
    if target.links == 2:
        assert {body[:1] for body in got[:2]} == {b"a", b"b"}
        assert [body for body in got if body[:1] == b"a"] == [b"a0", b"a1", b"a2", b"a3"]
    assert channel.basic_get(queue) == (None, None, None)
    channel.basic_ack(0, multiple=True)
    channel.queue_delete(queue)


def test_what_was_got_can_be_settled_like_a_delivery(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 3)
    tags = {}
    for _ in bodies:
        method, _, body = channel.basic_get(queue)
        tags[body] = method.delivery_tag
    ordered = sorted(tags.values())
    channel.basic_ack(ordered[3], multiple=True)
    channel.basic_nack(ordered[4], requeue=True)
    channel.basic_reject(ordered[5], requeue=False)
    barrier(channel, queue)
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (method.redelivered, tags[body]) == (True, ordered[4])
    channel.close()
    assert target.depth(queue) == 0
    target.channel().queue_delete(queue)


def test_gets_and_deliveries_share_one_sequence_of_tags(target: Target) -> None:
    channel = target.channel()
    queue, consumed = target.spread_queue(channel), target.spread_queue(channel)
    target.fill(queue, 2)
    target.fill(consumed, 2)
    first, _, _ = channel.basic_get(queue)
    inbox = Inbox.consuming(channel, consumed)
    inbox.wait_for(4)
    last, _, _ = channel.basic_get(queue)
    assert [first.delivery_tag, *inbox.tags, last.delivery_tag] == [1, 2, 3, 4, 5, 6]
    channel.basic_ack(6, multiple=True)
    channel.close()
    assert (target.depth(queue), target.depth(consumed)) == (2, 0)
    tidy = target.channel()
    for name in (queue, consumed):
        tidy.queue_delete(name)


def test_gets_in_one_write_are_answered_in_order(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    bodies = target.fill(queue, 5)
    client = target.raw()
    client.open_channel(1)
    gets = [commands.Basic.Get(queue=queue, no_ack=True)] * (len(bodies) + 2)
    client.send(*gets, commands.Basic.Qos(prefetch_count=1), channel=1)
    got = [client.expect_content(commands.Basic.GetOk) for _ in bodies]
    assert sorted(content.body for content in got) == sorted(bodies)
    assert [content.method.message_count for content in got] == list(range(len(bodies) - 1, -1, -1))
    client.expect(commands.Basic.GetEmpty, 1)
    client.expect(commands.Basic.GetEmpty, 1)
    client.expect(commands.Basic.QosOk, 1)
    setup.queue_delete(queue)


def test_a_get_from_a_queue_missing_on_one_upstream_is_404(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    with target.at("b").channel() as witness:
        witness.queue_delete(queue)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.basic_get(queue)
        channel.basic_get(queue)
    assert caught.value.reply_code == 404
    target.channel().queue_delete(queue)


def test_recover_brings_everything_back_on_every_upstream(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 3)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(6)
    inbox.deliveries[0].ack()
    kept = bodies[:]
    kept.remove(inbox.bodies[0])
    channel.basic_recover(requeue=True)
    inbox.wait_for(11)
    barrier(channel, queue)
    again = inbox.deliveries[6:]
    assert sorted(delivery.body for delivery in again) == sorted(kept)
    assert all(delivery.method.redelivered for delivery in again)
    assert inbox.tags == list(range(1, 12))
    again[-1].ack(multiple=True)
    channel.close()
    assert target.depth(queue) == 0
    target.channel().queue_delete(queue)


def test_tags_from_before_a_recover_are_unknown_after_it(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 1)
    for _ in "ab":
        channel.basic_get(queue)
    channel.basic_recover(requeue=True)
    channel.basic_ack(1)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.basic_qos(prefetch_count=1)
    assert caught.value.reply_code == 406
    target.channel().queue_delete(queue)


def test_recover_behind_a_prefetch_brings_back_what_waits_there_too(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 3)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(1)
    barrier(channel, queue)
    channel.basic_recover(requeue=True)
    seen = []
    for number in range(len(bodies)):
        inbox.wait_for(number + 2)
        barrier(channel, queue)
        assert len(inbox.deliveries) == number + 2
        seen.append(inbox.deliveries[-1].body)
        inbox.deliveries[-1].ack()
    assert sorted(seen) == sorted(bodies)
    channel.queue_delete(queue)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_recover_async_is_not_answered(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    target.fill(queue, 1)
    client = target.raw()
    client.open_channel(1)
    for _ in "ab":
        client.send(commands.Basic.Get(queue=queue), channel=1)
        client.expect_content(commands.Basic.GetOk)
    client.send(commands.Basic.RecoverAsync(requeue=True), commands.Basic.Qos(prefetch_count=1), channel=1)
    client.expect(commands.Basic.QosOk, 1)
    declare = commands.Queue.Declare(queue=queue, passive=True)
    client.call(declare, commands.Queue.DeclareOk)
    assert client.call(declare, commands.Queue.DeclareOk).message_count == 2
    setup.queue_delete(queue)
