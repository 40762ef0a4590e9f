"""channel.open, close and flow; and errors: code, text and failing method reach the client, whoever found them.

The mistakes stand for their reply codes; what each method does when it succeeds is in the other files.
"""

from __future__ import annotations

from collections.abc import Callable

import pika
import pytest
from pamqp import base, commands
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from tests.contract.receiving import Inbox, barrier, pump
from tests.contract.target import Target, each_upstream, unique, unproxied
from trabbits.testing.raw_client import HEADER, content_header, encode_methods, encode_publish, raw_frame

Mistake = Callable[[BlockingChannel], object]

SOFT_MISTAKES: list[tuple[str, int, str, Mistake]] = [
    (
        "passive declare of a missing queue",
        404,
        "no queue 'not-there' in vhost '/'",
        lambda channel: channel.queue_declare("not-there", passive=True),
    ),
    (
        "passive declare of a missing exchange",
        404,
        "no exchange 'not-there' in vhost '/'",
        lambda channel: channel.exchange_declare("not-there", passive=True),
    ),
    (
        "consume from a missing queue",
        404,
        "no queue 'not-there' in vhost '/'",
        lambda channel: channel.basic_consume("not-there", lambda *_: None),
    ),
    (
        "get from a missing queue",
        404,
        "no queue 'not-there' in vhost '/'",
        lambda channel: channel.basic_get("not-there"),
    ),
    (
        "purge of a missing queue",
        404,
        "no queue 'not-there' in vhost '/'",
        lambda channel: channel.queue_purge("not-there"),
    ),
    (
        "binding a missing queue",
        404,
        "no queue 'not-there' in vhost '/'",
        lambda channel: channel.queue_bind("not-there", "amq.direct", "key"),
    ),
    (
        "declare with a reserved prefix",
        403,
        "contains reserved prefix 'amq.*'",
        lambda channel: channel.exchange_declare("amq.mine", "direct"),
    ),
    (
        "queue declare with a reserved prefix",
        403,
        "contains reserved prefix 'amq.*'",
        lambda channel: channel.queue_declare("amq.mine"),
    ),
    (
        "binding to the default exchange",
        403,
        "operation not permitted on the default exchange",
        lambda channel: channel.queue_bind("not-there", "", "key"),
    ),
    (
        "declare of an exchange with another type",
        406,
        "inequivalent arg 'type' for exchange 'amq.direct' in vhost '/'",
        lambda channel: channel.exchange_declare("amq.direct", "fanout", durable=True),
    ),
    ("commit without a transaction", 406, "channel is not transactional", lambda channel: channel.tx_commit()),
]

HARD_MISTAKES: list[tuple[str, int, str, tuple[int, int], base.Frame]] = [
    (
        "an unknown exchange type",
        503,
        "unknown exchange type 'sideways'",
        (40, 10),
        commands.Exchange.Declare(exchange="x", exchange_type="sideways"),
    ),
    (
        "prefetch in octets",
        540,
        "prefetch_size!=0 (4096)",
        (60, 10),
        commands.Basic.Qos(prefetch_size=4096),
    ),
    ("stopping the flow", 540, "active=false", (20, 20), commands.Channel.Flow(active=False)),
    ("recover without requeue", 540, "requeue=false", (60, 110), commands.Basic.Recover(requeue=False)),
    ("opening a channel twice", 504, "second 'channel.open' seen", (20, 10), commands.Channel.Open()),
]


def test_a_channel_can_be_closed_and_its_number_opened_again(target: Target) -> None:
    connection = target.connect()
    for _ in range(3):
        channel = connection.channel(channel_number=7)
        channel.queue_declare("", exclusive=True)
        channel.close()
    assert connection.is_open


@pytest.mark.parametrize(
    ("code", "text", "mistake"), [row[1:] for row in SOFT_MISTAKES], ids=[row[0] for row in SOFT_MISTAKES]
)
def test_a_mistake_closes_the_channel_with_its_code_and_text_and_nothing_else(
    target: Target, code: int, text: str, mistake: Mistake
) -> None:
    connection = target.connect()
    bystander = connection.channel()
    channel = connection.channel()
    number = channel.channel_number
    with pytest.raises(ChannelClosedByBroker) as caught:
        mistake(channel)
    assert caught.value.reply_code == code
    assert text in caught.value.reply_text
    again = connection.channel(channel_number=number)
    queue = again.queue_declare("", exclusive=True).method.queue
    assert bystander.queue_declare(queue, passive=True).method.message_count == 0


@pytest.mark.parametrize(
    ("code", "text", "failing", "mistake"), [row[1:] for row in HARD_MISTAKES], ids=[row[0] for row in HARD_MISTAKES]
)
def test_a_grave_mistake_closes_the_connection_with_code_text_and_failing_method(
    target: Target, code: int, text: str, failing: tuple[int, int], mistake: base.Frame
) -> None:
    client = target.raw()
    client.open_channel(1)
    client.send(mistake, channel=1)
    close = client.expect(commands.Connection.Close)
    assert close.reply_code == code
    assert text in close.reply_text
    assert (close.class_id, close.method_id) == failing
    client.send(commands.Connection.CloseOk())
    client.expect_socket_closed()


def test_channel_close_names_the_failing_method(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    client.send(commands.Queue.Declare(queue="not-there", passive=True), channel=1)
    close = client.expect(commands.Channel.Close, 1)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 50, 10)
    assert close.reply_text == "NOT_FOUND - no queue 'not-there' in vhost '/'"


@each_upstream
def test_a_publish_to_a_missing_exchange_closes_the_channel_from_either_upstream(target: Target, upstream: str) -> None:
    client = target.raw()
    client.open_channel(1)
    client.publish("not-there", target.key_for(upstream, "key"), b"lost")
    close = client.expect(commands.Channel.Close, 1)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 60, 40)
    assert "no exchange 'not-there' in vhost '/'" in close.reply_text
    client.send(commands.Channel.CloseOk(), channel=1)
    client.open_channel(1)
    queue = client.own_queue()
    assert queue


def test_a_publish_to_missing_exchanges_on_both_upstreams_closes_the_channel_once(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    client.send_octets(
        b"".join(encode_publish("not-there", target.key_for(upstream, "key"), b"lost") for upstream in "abab")
    )
    assert client.expect(commands.Channel.Close, 1).reply_code == 404
    client.send(commands.Channel.CloseOk(), channel=1)
    client.open_channel(1)
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    client.close_politely()


def test_an_exclusive_queue_is_locked_for_others_with_405(target: Target) -> None:
    owner = target.channel()
    queue = unique("locked")
    owner.queue_declare(queue, exclusive=True)
    for attempt in (
        lambda channel: channel.queue_declare(queue, passive=True),
        lambda channel: channel.queue_purge(queue),
        lambda channel: channel.queue_delete(queue),
        lambda channel: channel.basic_get(queue),
        lambda channel: channel.basic_consume(queue, lambda *_: None),
    ):
        with pytest.raises(ChannelClosedByBroker) as caught:
            attempt(target.channel())
        assert caught.value.reply_code == 405
        assert f"cannot obtain exclusive access to locked queue '{queue}'" in caught.value.reply_text
    owner.queue_declare(queue, exclusive=True)


def test_reusing_a_consumer_tag_is_530(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    queue = client.own_queue()
    client.call(commands.Basic.Consume(queue=queue, consumer_tag="twice"), commands.Basic.ConsumeOk)
    client.send(commands.Basic.Consume(queue=queue, consumer_tag="twice"), channel=1)
    close = client.expect(commands.Connection.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (530, 60, 20)
    assert "attempt to reuse consumer tag 'twice'" in close.reply_text


def test_an_immediate_publish_is_540(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    publish = commands.Basic.Publish(exchange="", routing_key="a.now", immediate=True)
    client.send_octets(encode_methods(publish, channel=1) + raw_frame(HEADER, 1, content_header(0)))
    close = client.expect(commands.Connection.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (540, 60, 40)
    assert "immediate=true" in close.reply_text


@pytest.mark.parametrize(
    "method", [commands.Basic.Qos(prefetch_count=1), commands.Queue.Declare(queue="q"), commands.Tx.Select()]
)
def test_a_method_on_a_channel_that_is_not_open_is_504(target: Target, method: base.Frame) -> None:
    client = target.raw()
    client.send(method, channel=3)
    close = client.expect(commands.Connection.Close)
    assert close.reply_code == 504
    assert "expected 'channel.open'" in close.reply_text


def test_one_channel_more_than_agreed_is_530(target: Target) -> None:
    client = target.raw(channel_max=3)
    for number in (1, 2, 3):
        client.open_channel(number)
    client.send(commands.Channel.Open(), channel=4)
    close = client.expect(commands.Connection.Close)
    assert close.reply_code == 530
    assert "negotiated channel_max" in close.reply_text and "3" in close.reply_text


@unproxied
def test_channels_are_counted_and_their_numbers_are_free(target: Target) -> None:
    client = target.raw(channel_max=3)
    for number in (7, 65535, 2):
        client.open_channel(number)
    client.send(commands.Channel.Close(200, "done", 0, 0), channel=7)
    client.expect(commands.Channel.CloseOk, 7)
    client.open_channel(1000)
    client.send(commands.Channel.Open(), channel=1)
    close = client.expect(commands.Connection.Close)
    counted = "number of channels opened (3) has reached the negotiated channel_max (3)"
    assert (close.reply_code, close.reply_text) == (530, f"NOT_ALLOWED - {counted}")


@unproxied
@pytest.mark.parametrize(("most", "code"), [(1, 530), (2, 505)])
def test_content_on_a_channel_more_than_agreed_is_530_as_well(target: Target, most: int, code: int) -> None:
    client = target.raw(channel_max=most)
    client.open_channel(1)
    client.send_octets(raw_frame(HEADER, 2, content_header(0)))
    assert client.expect(commands.Connection.Close).reply_code == code


def test_flow_is_answered_with_what_was_asked(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    assert client.call(commands.Channel.Flow(active=True), commands.Channel.FlowOk).active is True
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)


def test_methods_after_a_mistake_are_dropped_until_close_ok(target: Target) -> None:
    queue = unique("never")
    client = target.raw()
    client.open_channel(1)
    client.send(
        commands.Queue.Declare(queue="not-there", passive=True),
        commands.Queue.Declare(queue=queue),
        commands.Basic.Qos(prefetch_count=3),
        channel=1,
    )
    assert client.expect(commands.Channel.Close, 1).reply_code == 404
    client.send(commands.Channel.CloseOk(), channel=1)
    client.open_channel(1)
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    assert not any(place.has_queue(queue) for place in target.places)


def test_closing_a_channel_gives_unacknowledged_messages_back_on_every_upstream(target: Target) -> None:
    connection = target.connect()
    channel = connection.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 5)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(len(bodies))
    channel.close()
    after = connection.channel()
    second = Inbox.consuming(after, queue)
    second.wait_for(len(bodies))
    assert sorted(second.bodies) == sorted(bodies)
    assert all(delivery.method.redelivered for delivery in second.deliveries)
    after.queue_delete(queue)


def test_a_channel_closed_in_the_middle_of_deliveries_leaves_the_others_undisturbed(target: Target) -> None:
    connection = target.connect()
    busy, calm = connection.channel(), connection.channel()
    queue = target.spread_queue(busy)
    target.fill(queue, 200)
    inbox = Inbox.consuming(busy, queue)
    inbox.wait_for(3)
    busy.close()
    barrier(calm, queue)
    pump(connection, lambda: target.depth(queue) == 400)
    calm.queue_delete(queue)


def test_what_a_forbidden_user_may_not_do_is_403(target: Target) -> None:
    user = unique("visitor")
    for node in target.nodes.values():
        assert node.management is not None
        node.management.add_user(user, "secret")
        node.management.set_permissions("/", user, configure="^mine", write="^mine", read="^mine")
    try:
        connection = target.connect(username=user, password="secret")
        refusals: list[Mistake] = [
            lambda channel: channel.queue_declare("yours"),
            lambda channel: channel.exchange_declare("yours", "fanout"),
            lambda channel: channel.basic_consume("yours", lambda *_: None),
        ]
        for attempt in refusals:
            with pytest.raises(ChannelClosedByBroker) as caught:
                attempt(connection.channel())
            assert caught.value.reply_code == 403
            assert f"refused for user '{user}'" in caught.value.reply_text
        allowed = connection.channel()
        queue = unique("mine")
        allowed.queue_declare(queue)
        allowed.queue_delete(queue)
    finally:
        for node in target.nodes.values():
            assert node.management is not None
            node.management.delete_user(user)


def test_pika_sees_a_grave_mistake_as_connection_closed(target: Target) -> None:
    channel = target.channel()
    with pytest.raises(ConnectionClosedByBroker) as caught:
        channel.exchange_declare(unique("x"), "sideways")
    assert caught.value.reply_code == 503


def test_two_connections_do_not_share_their_errors(target: Target) -> None:
    first, second = target.connect(), target.connect()
    with pytest.raises(ConnectionClosedByBroker):
        first.channel().exchange_declare(unique("x"), "sideways")
    assert second.channel().queue_declare("", exclusive=True).method.queue


def test_pika_properties_survive_the_channel_error_of_another_channel(target: Target) -> None:
    connection = target.connect()
    healthy, failing = connection.channel(), connection.channel()
    queue = healthy.queue_declare("", exclusive=True).method.queue
    with pytest.raises(ChannelClosedByBroker):
        failing.queue_declare("not-there", passive=True)
    healthy.basic_publish("", queue, b"still here", pika.BasicProperties(app_id="survivor"))
    inbox = Inbox.consuming(healthy, queue)
    inbox.wait_for(1)
    assert inbox.deliveries[0].properties.app_id == "survivor"


@each_upstream
def test_an_error_on_one_upstream_closes_the_channel_on_the_others(target: Target, upstream: str) -> None:
    """What the channel held there comes back, and nobody consumes there any more."""
    connection = target.connect()
    channel = connection.channel()
    queue = target.spread_queue(channel)
    bodies = target.fill(queue, 3)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(len(bodies))
    with pytest.raises(ChannelClosedByBroker):
        channel.basic_publish("not-there", target.key_for(upstream, "key"), b"lost")
        channel.queue_declare(queue, passive=True)
    assert target.depth(queue) == len(bodies)
    assert all(place.consumers(queue) == 0 for place in target.places)
    connection.channel().queue_delete(queue)
