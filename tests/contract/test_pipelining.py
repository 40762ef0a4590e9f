"""Methods without waiting: nowait gets no reply, and what was written at once is answered in that order."""

from __future__ import annotations

import pytest
from pamqp import base, commands

from tests.contract.target import Target, each_upstream, unique
from trabbits.testing.raw_client import encode_methods, encode_publish


def nowait_methods(queue: str, exchange: str, other: str) -> list[base.Frame]:
    """Every method that has a nowait bit, in an order in which they all succeed."""
    return [
        commands.Exchange.Declare(exchange=exchange, exchange_type="fanout", nowait=True),
        commands.Exchange.Declare(exchange=other, exchange_type="direct", nowait=True),
        commands.Exchange.Bind(destination=exchange, source=other, routing_key="k", nowait=True),
        commands.Queue.Declare(queue=queue, nowait=True),
        commands.Queue.Bind(queue=queue, exchange=exchange, nowait=True),
        commands.Basic.Consume(queue=queue, consumer_tag="c", nowait=True),
        commands.Basic.Cancel(consumer_tag="c", nowait=True),
        commands.Queue.Purge(queue=queue, nowait=True),
        commands.Confirm.Select(nowait=True),
        commands.Exchange.Unbind(destination=exchange, source=other, routing_key="k", nowait=True),
        commands.Queue.Delete(queue=queue, nowait=True),
        commands.Exchange.Delete(exchange=exchange, nowait=True),
        commands.Exchange.Delete(exchange=other, nowait=True),
    ]


def test_nowait_is_honoured_by_every_method(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    for method in nowait_methods(unique("queue"), unique("exchange"), unique("other")):
        client.send(method, channel=1)
        client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)


def test_nowait_methods_in_one_write_take_effect_on_every_node(target: Target) -> None:
    queue, exchange, other = unique("queue"), unique("exchange"), unique("other")
    methods = nowait_methods(queue, exchange, other)
    client = target.raw()
    client.open_channel(1)
    client.send(*methods[:9], commands.Basic.Qos(prefetch_count=1), channel=1)
    client.expect(commands.Basic.QosOk, 1)
    for place in target.places:
        assert place.has_queue(queue) and place.has_exchange(exchange) and place.has_exchange(other)
        assert place.consumers(queue) == 0
    client.publish(other, target.key_for("b", "k"), b"dropped")
    assert client.expect(commands.Basic.Ack, 1).delivery_tag == 1
    client.send(*methods[9:], commands.Basic.Qos(prefetch_count=1), channel=1)
    client.expect(commands.Basic.QosOk, 1)
    for place in target.places:
        assert not place.has_queue(queue) and not place.has_exchange(exchange) and not place.has_exchange(other)


def test_a_consumer_without_a_reply_is_served(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    bodies = target.fill(queue, 3)
    client = target.raw()
    client.open_channel(1)
    client.send(commands.Basic.Consume(queue=queue, consumer_tag="quiet", no_ack=True, nowait=True), channel=1)
    delivered = [client.expect_content(commands.Basic.Deliver) for _ in bodies]
    assert sorted(content.body for content in delivered) == sorted(bodies)
    assert {content.method.consumer_tag for content in delivered} == {"quiet"}
    client.send(commands.Basic.Cancel(consumer_tag="quiet", nowait=True), channel=1)
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    assert all(place.consumers(queue) == 0 for place in target.places)
    setup.queue_delete(queue)


@pytest.mark.parametrize(
    ("method", "failing"),
    [
        (commands.Queue.Declare(queue="not-there", passive=True, nowait=True), (50, 10)),
        (commands.Queue.Bind(queue="not-there", exchange="amq.direct", nowait=True), (50, 20)),
        (commands.Basic.Consume(queue="not-there", consumer_tag="c", nowait=True), (60, 20)),
        (commands.Queue.Purge(queue="not-there", nowait=True), (50, 30)),
        (commands.Exchange.Declare(exchange="not-there", passive=True, nowait=True), (40, 10)),
    ],
    ids=lambda value: value.name if isinstance(value, base.Frame) else "",
)
def test_a_nowait_method_that_fails_closes_the_channel(
    target: Target, method: base.Frame, failing: tuple[int, int]
) -> None:
    client = target.raw()
    client.open_channel(1)
    client.send(method, commands.Basic.Qos(prefetch_count=1), channel=1)
    close = client.expect(commands.Channel.Close, 1)
    assert (close.reply_code, close.class_id, close.method_id) == (404, *failing)
    client.send(commands.Channel.CloseOk(), channel=1)
    client.open_channel(1)


def test_nowait_and_waiting_methods_mix(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    first, second, third = (unique(name) for name in ("first", "second", "third"))
    client.send(
        commands.Queue.Declare(queue=first, exclusive=True, nowait=True),
        commands.Queue.Declare(queue=second, exclusive=True),
        commands.Queue.Declare(queue=third, exclusive=True, nowait=True),
        commands.Queue.Declare(queue=first, exclusive=True),
        commands.Queue.Delete(queue=third, nowait=True),
        commands.Queue.Delete(queue=second),
        channel=1,
    )
    assert client.expect(commands.Queue.DeclareOk, 1).queue == second
    assert client.expect(commands.Queue.DeclareOk, 1).queue == first
    client.expect(commands.Queue.DeleteOk, 1)
    client.close_politely()


def test_a_whole_conversation_in_one_write_is_answered_in_order(target: Target) -> None:
    client = target.raw()
    queue, exchange = unique("queue"), unique("exchange")
    key = target.key_for("b", "key")
    before = [
        commands.Channel.Open(),
        commands.Exchange.Declare(exchange=exchange, exchange_type="direct"),
        commands.Queue.Declare(queue=queue, exclusive=True),
        commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=key),
        commands.Confirm.Select(),
        commands.Basic.Qos(prefetch_count=5),
        commands.Queue.Purge(queue=queue),
    ]
    after = [
        commands.Basic.Consume(queue=queue, consumer_tag="c"),
        commands.Basic.Cancel(consumer_tag="unknown"),
        commands.Queue.Unbind(queue=queue, exchange=exchange, routing_key=key),
        commands.Exchange.Delete(exchange=exchange),
        commands.Queue.Delete(queue=queue),
        commands.Channel.Close(200, "", 0, 0),
    ]
    client.send_octets(
        encode_methods(*before, channel=1) + encode_publish(exchange, key, b"hello") + encode_methods(*after, channel=1)
    )
    names: list[str] = []
    while names[-1:] != ["Channel.CloseOk"]:
        method = client.receive().method
        if method is not None:
            names.append(method.name)
    # RabbitMQ's queue answers basic.consume by itself: that reply may be overtaken by others, even by the last one.
    assert names.count("Basic.ConsumeOk") <= 1
    unordered = ("Basic.Ack", "Basic.Deliver", "Basic.Cancel", "Basic.ConsumeOk")
    replies = [name for name in names if name not in unordered]
    assert replies == [
        "Channel.OpenOk",
        "Exchange.DeclareOk",
        "Queue.DeclareOk",
        "Queue.BindOk",
        "Confirm.SelectOk",
        "Basic.QosOk",
        "Queue.PurgeOk",
        "Basic.CancelOk",
        "Queue.UnbindOk",
        "Exchange.DeleteOk",
        "Queue.DeleteOk",
        "Channel.CloseOk",
    ]


def test_consumers_and_requests_in_one_write_are_all_answered(target: Target) -> None:
    """RabbitMQ may answer basic.consume later than the request behind it; no reply must be taken for another."""
    setup = target.channel()
    queue = target.spread_queue(setup)
    client = target.raw()
    client.open_channel(1)
    tags = [f"c{number}" for number in range(20)]
    methods: list[base.Frame] = []
    for tag in tags:
        methods.append(commands.Basic.Consume(queue=queue, consumer_tag=tag))
        methods.append(commands.Queue.Declare(queue=queue, passive=True))
        methods.append(commands.Basic.Get(queue=queue))
        methods.append(commands.Basic.Qos(prefetch_count=1))
    client.send(*methods, channel=1)
    replies = [client.receive_method()[1] for _ in methods]
    consumed = [str(method.consumer_tag) for method in replies if isinstance(method, commands.Basic.ConsumeOk)]
    others = [method.name for method in replies if not isinstance(method, commands.Basic.ConsumeOk)]
    assert sorted(consumed) == sorted(tags)
    assert others == ["Queue.DeclareOk", "Basic.GetEmpty", "Basic.QosOk"] * len(tags)
    client.send(*[commands.Basic.Cancel(consumer_tag=tag) for tag in tags], channel=1)
    assert [client.expect(commands.Basic.CancelOk, 1).consumer_tag for _ in tags] == tags
    setup.queue_delete(queue)


def test_a_conversation_cut_into_single_octets_is_understood(target: Target) -> None:
    client = target.raw()
    queue = unique("queue")
    methods = [commands.Channel.Open(), commands.Queue.Declare(queue=queue, exclusive=True), commands.Confirm.Select()]
    octets = encode_methods(*methods, channel=1) + encode_publish("", queue, b"in small pieces")
    for at in range(len(octets)):
        client.send_octets(octets[at : at + 1])
    for reply in (commands.Channel.OpenOk, commands.Queue.DeclareOk, commands.Confirm.SelectOk, commands.Basic.Ack):
        client.expect(reply, 1)
    client.send(commands.Basic.Get(queue=queue, no_ack=True), channel=1)
    assert client.expect_content(commands.Basic.GetOk).body == b"in small pieces"


def test_many_requests_on_many_channels_are_answered_in_order_on_each(target: Target) -> None:
    client = target.raw()
    client.send_octets(b"".join(encode_methods(commands.Channel.Open(), channel=number) for number in range(1, 21)))
    for _ in range(20):
        assert isinstance(client.receive().method, commands.Channel.OpenOk)
    rounds = []
    for index in range(30):
        for number in range(1, 21):
            declare = commands.Queue.Declare(queue=f"order-{number}-{index}", exclusive=True)
            rounds.append(encode_methods(declare, channel=number))
    client.send_octets(b"".join(rounds))
    seen: dict[int, list[str]] = {number: [] for number in range(1, 21)}
    for _ in range(600):
        channel, method = client.receive_method()
        assert isinstance(method, commands.Queue.DeclareOk)
        seen[channel].append(method.queue or "")
    assert seen == {number: [f"order-{number}-{index}" for index in range(30)] for number in range(1, 21)}
    client.close_politely()


@each_upstream
def test_a_declare_behind_publishes_counts_them(target: Target, upstream: str) -> None:
    """Order holds between what goes to one upstream and what goes to all."""
    client = target.raw()
    client.open_channel(1)
    queue = unique(target.key_for(upstream, "queue"))
    client.call(commands.Queue.Declare(queue=queue, exclusive=True), commands.Queue.DeclareOk)
    client.send_octets(
        b"".join(encode_publish("", queue, b"x" * 50) for _ in range(300))
        + encode_methods(commands.Queue.Purge(queue=queue), channel=1)
    )
    assert client.expect(commands.Queue.PurgeOk, 1).message_count == 300
    client.close_politely()


def test_a_consumer_declared_behind_publishes_gets_them(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    queue = unique("queue")
    client.call(commands.Queue.Declare(queue=queue, exclusive=True), commands.Queue.DeclareOk)
    for upstream in "ab":
        bind = commands.Queue.Bind(queue=queue, exchange="amq.direct", routing_key=target.key_for(upstream, queue))
        client.call(bind, commands.Queue.BindOk)
    client.send_octets(
        b"".join(encode_publish("amq.direct", target.key_for("ab"[n % 2], queue), b"%d" % n) for n in range(100))
        + encode_methods(commands.Basic.Consume(queue=queue, consumer_tag="c", no_ack=True), channel=1)
    )
    client.expect(commands.Basic.ConsumeOk, 1)
    bodies = {client.expect_content(commands.Basic.Deliver).body for _ in range(100)}
    assert bodies == {b"%d" % n for n in range(100)}
