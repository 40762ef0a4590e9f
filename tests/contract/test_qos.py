"""basic.qos: the client never holds more unacknowledged messages than it asked for, however many upstreams serve it."""

from __future__ import annotations

import pytest
from pamqp import commands

from tests.contract.receiving import Inbox, barrier, pump
from tests.contract.target import Target
from trabbits.testing.raw_client import RawClient, eventually


def unheld(channel_queue: tuple[RawClient, str]) -> int:
    """Deliveries that arrive before everything the broker has to say is said; see `receiving.barrier`."""
    client, queue = channel_queue
    deliveries = 0
    for _ in range(3):
        client.send(commands.Queue.Declare(queue=queue, passive=True), channel=1)
        while True:
            received = client.receive()
            if isinstance(received.method, commands.Queue.DeclareOk):
                break
            deliveries += isinstance(received.method, commands.Basic.Deliver)
    return deliveries


@pytest.mark.parametrize("prefetch", [1, 3, 10])
def test_the_client_never_holds_more_than_its_prefetch(target: Target, prefetch: int) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 15)
    channel.basic_qos(prefetch_count=prefetch)
    inbox = Inbox.consuming(channel, queue)
    settled = 0
    while settled < len(bodies):
        inbox.wait_for(min(settled + prefetch, len(bodies)))
        barrier(channel, queue)
        assert len(inbox.deliveries) == min(settled + prefetch, len(bodies))
        inbox.deliveries[settled].ack()
        settled += 1
    assert sorted(inbox.bodies) == sorted(bodies)
    assert inbox.tags == list(range(1, len(bodies) + 1))
    channel.close()
    assert target.depth(queue) == 0
    target.channel().queue_delete(queue)


def test_an_ack_of_multiple_makes_room_for_as_many(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 15)
    channel.basic_qos(prefetch_count=10)
    inbox = Inbox.consuming(channel, queue)
    for expected in (10, 20, 30):
        inbox.wait_for(expected)
        barrier(channel, queue)
        assert len(inbox.deliveries) == expected
        inbox.deliveries[-1].ack(multiple=True)
    barrier(channel, queue)
    channel.close()
    assert target.depth(queue) == 0
    target.channel().queue_delete(queue)


@pytest.mark.parametrize("how", ["reject", "nack", "nack multiple"])
def test_refused_messages_make_room_too(target: Target, how: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 5)
    channel.basic_qos(prefetch_count=2)
    inbox = Inbox.consuming(channel, queue)
    while len(inbox.deliveries) < len(bodies):
        inbox.wait_for(len(inbox.deliveries) + 2 if inbox.deliveries else 2)
        first, second = inbox.deliveries[-2:]
        if how == "reject":
            channel.basic_reject(first.tag, requeue=False)
            channel.basic_reject(second.tag, requeue=False)
        elif how == "nack":
            second.nack(requeue=False)
            first.nack(requeue=False)
        else:
            second.nack(multiple=True, requeue=False)
    barrier(channel, queue)
    assert sorted(inbox.bodies) == sorted(bodies)
    channel.queue_delete(queue)


def test_a_requeued_message_makes_room_and_comes_again(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 3)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(1)
    inbox.deliveries[0].nack()
    while len({delivery.body for delivery in inbox.deliveries}) < len({b"a0", b"a1", b"a2", b"b0", b"b1", b"b2"}):
        inbox.wait_for(len(inbox.deliveries) + 1)
        barrier(channel, queue)
        assert len(inbox.deliveries) == inbox.deliveries[-1].tag
        inbox.deliveries[-1].ack()
    channel.queue_delete(queue)


def test_messages_of_one_upstream_keep_their_order_behind_a_prefetch(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 30)
    channel.basic_qos(prefetch_count=4)
    inbox = Inbox.consuming(channel, queue)
    for settled in range(60):
        inbox.wait_for(settled + 1)
        inbox.deliveries[settled].ack()
    for upstream in (b"a", b"b"):
        numbers = [int(body[1:]) for body in inbox.bodies if body[:1] == upstream]
        assert numbers == list(range(30))
    channel.queue_delete(queue)


def test_both_upstreams_get_their_turn(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.at("b").put(queue, b"b")
    target.at("a").put(queue, *[b"a"] * 50)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue)
    for settled in range(51):
        inbox.wait_for(settled + 1)
        inbox.deliveries[settled].ack()
    assert b"b" in inbox.bodies[:5]
    channel.queue_delete(queue)


def test_a_global_prefetch_is_shared_by_the_consumers_of_the_channel(target: Target) -> None:
    channel = target.channel()
    queues = [target.spread_queue(channel) for _ in "12"]
    for queue in queues:
        target.fill(queue, 5)
    channel.basic_qos(prefetch_count=3, global_qos=True)
    inbox = Inbox.consuming(channel, queues[0])
    inbox.attend(channel, queues[1])
    for settled in range(20):
        inbox.wait_for(min(settled + 3, 20))
        for queue in queues:
            barrier(channel, queue)
        assert len(inbox.deliveries) == min(settled + 3, 20)
        inbox.deliveries[settled].ack()
    for queue in queues:
        channel.queue_delete(queue)


def test_without_global_each_consumer_has_the_prefetch_set_before_it(target: Target) -> None:
    channel = target.channel()
    queues = [target.spread_queue(channel) for _ in "123"]
    for queue in queues:
        target.fill(queue, 10)
    inboxes = []
    for prefetch, queue in zip((2, 5, 0), queues, strict=True):
        channel.basic_qos(prefetch_count=prefetch)
        inboxes.append(Inbox.consuming(channel, queue))
    for expected, queue, inbox in zip((2, 5, 20), queues, inboxes, strict=True):
        inbox.wait_for(expected)
        barrier(channel, queue)
        assert len(inbox.deliveries) == expected
    for queue in queues:
        channel.queue_delete(queue)


def test_a_global_prefetch_raised_later_lets_more_through(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 10)
    channel.basic_qos(prefetch_count=2, global_qos=True)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(2)
    channel.basic_qos(prefetch_count=6, global_qos=True)
    inbox.wait_for(6)
    barrier(channel, queue)
    assert len(inbox.deliveries) == 6
    channel.basic_qos(prefetch_count=0, global_qos=True)
    inbox.wait_for(20)
    channel.queue_delete(queue)


def test_a_consumer_without_acknowledgements_is_not_limited(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 10)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    inbox.wait_for(20)
    channel.queue_delete(queue)


def test_basic_get_does_not_count_towards_the_prefetch_of_a_consumer(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 3)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(1)
    method, _, _ = channel.basic_get(queue)
    assert method is not None
    inbox.deliveries[0].ack()
    inbox.wait_for(2)
    channel.queue_delete(queue)


def test_the_prefetch_of_one_channel_does_not_hold_up_another(target: Target) -> None:
    connection = target.connect()
    slow, quick = connection.channel(), connection.channel()
    queue, other = target.spread_queue(slow), target.spread_queue(quick)
    target.fill(queue, 5)
    target.fill(other, 5)
    slow.basic_qos(prefetch_count=1)
    held = Inbox.consuming(slow, queue)
    held.wait_for(1)
    free = Inbox.consuming(quick, other)
    free.wait_for(10)
    assert len(held.deliveries) == 1
    for name in (queue, other):
        quick.queue_delete(name)


def test_what_waits_behind_a_prefetch_comes_back_when_the_channel_closes(target: Target) -> None:
    connection = target.connect()
    channel = connection.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 5)
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(1)
    barrier(channel, queue)
    channel.close()
    eventually(lambda: target.depth(queue) == len(bodies))
    after = connection.channel()
    again = Inbox.consuming(after, queue, auto_ack=True)
    again.wait_for(len(bodies))
    assert sorted(again.bodies) == sorted(bodies)
    after.queue_delete(queue)


def test_what_waits_behind_a_prefetch_comes_back_when_the_client_vanishes(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    bodies = target.fill(queue, 5)
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    client.expect_content(commands.Basic.Deliver)
    assert unheld((client, queue)) == 0
    client.close()
    eventually(lambda: target.depth(queue) == len(bodies))
    setup.queue_delete(queue)


def test_a_second_consumer_takes_over_what_a_full_one_cannot(target: Target) -> None:
    connection = target.connect()
    channel, helper = connection.channel(), connection.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 10)
    channel.basic_qos(prefetch_count=1)
    stuck = Inbox.consuming(channel, queue)
    stuck.wait_for(1)
    barrier(channel, queue)
    other = Inbox.consuming(helper, queue, auto_ack=True)
    # Each link may hold one message for the stuck consumer; only one of them is the client's.
    other.wait_for(len(bodies) - target.links)
    stuck.deliveries[0].ack()
    pump(connection, lambda: len(stuck.deliveries) + len(other.deliveries) == len(bodies))
    assert sorted(stuck.bodies + other.bodies) == sorted(bodies)
    channel.queue_delete(queue)


def test_what_waits_behind_a_prefetch_is_unacknowledged_for_its_upstream(target: Target) -> None:
    """Each upstream keeps to the client's prefetch by itself, so at most that much waits per upstream."""
    channel = target.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 5)
    channel.basic_qos(prefetch_count=1)
    Inbox.consuming(channel, queue).wait_for(1)
    barrier(channel, queue)
    assert target.depth(queue) == len(bodies) - target.links
    channel.queue_delete(queue)
