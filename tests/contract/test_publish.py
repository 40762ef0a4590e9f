"""basic.publish and basic.return: one link per message, chosen by its key, and what cannot be routed comes back."""

from __future__ import annotations

import pika
import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from tests.contract.receiving import Inbox, pump
from tests.contract.target import Target, each_upstream, only_fan, unique
from trabbits.testing.raw_client import encode_publish, eventually

EVERY_PROPERTY = pika.BasicProperties(
    content_type="application/json",
    content_encoding="gzip",
    headers={"answer": 42, "nested": {"list": [1, "two", None]}},
    delivery_mode=2,
    priority=7,
    correlation_id="correlation",
    reply_to="somewhere",
    expiration="60000",
    message_id="message",
    timestamp=1700000000,
    type="greeting",
    user_id="guest",
    app_id="contract",
)


@each_upstream
def test_a_message_goes_to_the_upstream_of_its_key_and_to_no_other(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    for number in range(5):
        target.publish_to(channel, upstream, queue, b"%d" % number)
    place = target.at(upstream)
    eventually(lambda: place.depth(queue) == 5)
    assert target.depth(queue) == 5
    assert place.take(queue) == [b"%d" % number for number in range(5)]
    channel.queue_delete(queue)


@only_fan
@pytest.mark.parametrize(
    ("key", "upstream"),
    [
        ("b", "b"),
        ("b.x.y", "b"),
        ("b-x", "b"),
        ("b-", "b"),
        ("bx", "a"),
        ("b-x.y", "a"),
        ("x.b", "a"),
        ("", "a"),
        ("B.x", "a"),
    ],
)
def test_the_key_patterns_decide(target: Target, key: str, upstream: str) -> None:
    channel = target.channel()
    exchange, queue = unique("exchange"), unique("queue")
    channel.exchange_declare(exchange, "fanout")
    channel.queue_declare(queue)
    channel.queue_bind(queue, exchange)
    channel.basic_publish(exchange, key, b"here")
    eventually(lambda: target.depth(queue) == 1)
    assert target.at(upstream).take(queue) == [b"here"]
    channel.queue_delete(queue)
    channel.exchange_delete(exchange)


@each_upstream
def test_the_default_exchange_leads_to_the_queue_of_that_name(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.key_for(upstream, unique("work"))
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"task")
    eventually(lambda: target.at(upstream).depth(queue) == 1)
    channel.queue_delete(queue)


@each_upstream
def test_every_property_arrives_as_it_was_sent(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    target.publish_to(channel, upstream, queue, b"all", properties=EVERY_PROPERTY)
    delivery = inbox.wait_for(1)[0]
    assert delivery.properties == EVERY_PROPERTY
    assert delivery.method.exchange == "amq.direct"
    assert delivery.method.routing_key == target.key_for(upstream, queue)
    assert delivery.method.consumer_tag == inbox.consumer_tag
    assert not delivery.method.redelivered
    channel.queue_delete(queue)


def test_messages_of_one_upstream_keep_their_order_among_others(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    for number in range(200):
        target.publish_to(channel, "ab"[number % 3 == 0], queue, b"%s%d" % (b"ab"[number % 3 == 0 :][:1], number))
    inbox.wait_for(200)
    for upstream in (b"a", b"b"):
        numbers = [int(body[1:]) for body in inbox.bodies if body[:1] == upstream]
        assert numbers == sorted(numbers)
        assert numbers
    channel.queue_delete(queue)


@each_upstream
def test_an_unroutable_mandatory_message_comes_back_whole(target: Target, upstream: str) -> None:
    client = target.raw()
    client.open_channel(1)
    key = target.key_for(upstream, unique("nobody"))
    properties = b"\x80\x00\x0atext/plain"
    client.publish("amq.direct", key, b"come back", properties=properties, mandatory=True)
    returned = client.expect_content(commands.Basic.Return)
    method = returned.method
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key) == ("amq.direct", key)
    assert (returned.properties, returned.body) == (properties, b"come back")


def test_unroutable_mandatory_messages_come_back_from_both_upstreams(target: Target) -> None:
    channel = target.channel()
    returned: list[tuple[str, bytes]] = []
    channel.add_on_return_callback(lambda _, method, __, body: returned.append((method.routing_key, body)))
    key = unique("nobody")
    for number in range(20):
        upstream = "ab"[number % 2]
        channel.basic_publish("", target.key_for(upstream, key), f"{upstream}{number}".encode(), mandatory=True)
    pump(channel.connection, lambda: len(returned) == 20)
    assert all(body.decode()[0] == returned_key[0] for returned_key, body in returned)
    assert len({body for _, body in returned}) == 20


@each_upstream
def test_a_mandatory_message_that_is_routed_does_not_come_back(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    returned: list[bytes] = []
    channel.add_on_return_callback(lambda _, __, ___, body: returned.append(body))
    target.publish_to(channel, upstream, queue, b"routed", mandatory=True)
    channel.basic_publish("amq.direct", target.key_for(upstream, unique("nobody")), b"lost", mandatory=True)
    pump(channel.connection, lambda: returned)
    assert returned == [b"lost"]
    eventually(lambda: target.depth(queue) == 1)
    channel.queue_delete(queue)


@each_upstream
def test_an_unroutable_message_is_dropped_without_mandatory(target: Target, upstream: str) -> None:
    client = target.raw()
    client.open_channel(1)
    client.publish("amq.direct", target.key_for(upstream, unique("nobody")), b"lost")
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    client.close_politely()


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (
            pika.BasicProperties(user_id="somebody"),
            "user_id property set to 'somebody' but authenticated user was 'guest'",
        ),
        (pika.BasicProperties(expiration="soon"), "invalid expiration 'soon'"),
    ],
    ids=["user-id", "expiration"],
)
@each_upstream
def test_a_property_the_broker_refuses_is_406(
    target: Target, upstream: str, properties: pika.BasicProperties, text: str
) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, exclusive=True)
    with pytest.raises(ChannelClosedByBroker) as caught:
        target.publish_to(channel, upstream, queue, b"refused", properties=properties)
        channel.queue_declare(queue, passive=True)
    assert caught.value.reply_code == 406
    assert text in caught.value.reply_text


def test_sender_selected_distribution_follows_the_headers(target: Target) -> None:
    """CC and BCC are RabbitMQ's: the message takes the upstream of its key, and there they apply."""
    channel = target.channel()
    first = channel.queue_declare("", exclusive=True).method.queue
    second = channel.queue_declare("", exclusive=True).method.queue
    inbox = Inbox.consuming(channel, first, auto_ack=True)
    inbox.attend(channel, second, auto_ack=True)
    channel.basic_publish("", first, b"copied", pika.BasicProperties(headers={"CC": [second]}))
    inbox.wait_for(2)
    assert inbox.bodies == [b"copied", b"copied"]


def test_publishes_and_requests_in_one_write_keep_their_order(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    queue = client.own_queue()
    key = unique("nobody")
    client.send_octets(
        b"".join(encode_publish("", queue, b"%d" % number) for number in range(10))
        + encode_publish("", target.key_for("b", key), b"returned", mandatory=True)
    )
    assert client.expect_content(commands.Basic.Return).body == b"returned"
    declare = commands.Queue.Declare(queue=queue, passive=True)
    eventually(lambda: client.call(declare, commands.Queue.DeclareOk).message_count == 10)
