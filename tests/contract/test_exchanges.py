"""exchange.declare, delete, bind, unbind: on every node, one reply, the first error wins."""

from __future__ import annotations

import pika
import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from tests.contract.receiving import Inbox
from tests.contract.target import Target, each_upstream, unique, unproxied


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_declared_exchanges_exist_on_every_node_until_deleted(target: Target, kind: str) -> None:
    channel = target.channel()
    exchange = unique("exchange")
    channel.exchange_declare(exchange, kind, durable=True)
    assert all(place.has_exchange(exchange) for place in target.places)
    channel.exchange_declare(exchange, kind, durable=True)
    channel.exchange_declare(exchange, passive=True)
    channel.exchange_delete(exchange)
    assert not any(place.has_exchange(exchange) for place in target.places)


def test_attributes_of_an_exchange_reach_every_node(target: Target) -> None:
    channel = target.channel()
    exchange = unique("exchange")
    arguments = {"alternate-exchange": "amq.fanout"}
    channel.exchange_declare(exchange, "topic", durable=True, internal=True, auto_delete=True, arguments=arguments)
    for node in target.nodes.values():
        assert node.management is not None
        found = node.management.exchange("/", exchange)
        assert found is not None
        assert (found["type"], found["durable"], found["internal"], found["auto_delete"]) == ("topic", True, True, True)
        assert found["arguments"] == arguments
    channel.exchange_delete(exchange)


@each_upstream
def test_an_alternate_exchange_gets_what_is_not_routed(target: Target, upstream: str) -> None:
    channel = target.channel()
    exchange, spare = unique("exchange"), unique("spare")
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.exchange_declare(spare, "fanout", auto_delete=True)
    channel.exchange_declare(exchange, "direct", auto_delete=True, arguments={"alternate-exchange": spare})
    channel.queue_bind(queue, spare)
    inbox = Inbox.consuming(channel, queue)
    channel.basic_publish(exchange, target.key_for(upstream, "unrouted"), b"caught")
    inbox.wait_for(1)
    assert inbox.bodies == [b"caught"]
    channel.exchange_delete(exchange)


@each_upstream
def test_an_inequivalent_exchange_on_one_upstream_is_406(target: Target, upstream: str) -> None:
    exchange = unique("exchange")
    with target.at(upstream).channel() as witness:
        witness.exchange_declare(exchange, "fanout")
    connection = target.connect()
    with pytest.raises(ChannelClosedByBroker) as caught:
        connection.channel().exchange_declare(exchange, "direct")
    assert caught.value.reply_code == 406
    assert f"inequivalent arg 'type' for exchange '{exchange}'" in caught.value.reply_text
    connection.channel().exchange_delete(exchange)
    assert not any(place.has_exchange(exchange) for place in target.places)


def test_deleting_a_missing_exchange_is_no_error(target: Target) -> None:
    channel = target.channel()
    channel.exchange_delete(unique("not-there"))
    assert channel.is_open


@each_upstream
def test_if_unused_refuses_to_delete_an_exchange_that_one_upstream_uses(target: Target, upstream: str) -> None:
    connection = target.connect()
    channel = connection.channel()
    exchange, queue = unique("exchange"), unique("queue")
    channel.exchange_declare(exchange, "direct")
    channel.queue_declare(queue, exclusive=True)
    with target.connect().channel() as other:
        with pytest.raises(ChannelClosedByBroker) as caught:
            channel.queue_bind(queue, exchange, "key")
            other.exchange_delete(exchange, if_unused=True)
    assert caught.value.reply_code == 406
    assert f"exchange '{exchange}' in vhost '/' in use" in caught.value.reply_text
    channel.exchange_delete(exchange)


@each_upstream
def test_messages_pass_between_bound_exchanges_until_unbound(target: Target, upstream: str) -> None:
    channel = target.channel()
    source, destination = unique("source"), unique("destination")
    key = target.key_for(upstream, "passing")
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.exchange_declare(source, "topic")
    channel.exchange_declare(destination, "fanout")
    channel.exchange_bind(destination, source, "*.passing")
    channel.queue_bind(queue, destination)
    inbox = Inbox.consuming(channel, queue)
    channel.basic_publish(source, key, b"bound")
    inbox.wait_for(1)
    channel.exchange_unbind(destination, source, "*.passing")
    channel.basic_publish(source, key, b"unbound")
    channel.basic_publish(destination, key, b"last")
    inbox.wait_for(2)
    assert inbox.bodies == [b"bound", b"last"]
    for exchange in (source, destination):
        channel.exchange_delete(exchange)


@each_upstream
def test_binding_to_an_exchange_missing_on_one_upstream_is_404(target: Target, upstream: str) -> None:
    connection = target.connect()
    channel = connection.channel()
    here, there = unique("here"), unique("there")
    channel.exchange_declare(here, "fanout")
    channel.exchange_declare(there, "fanout")
    with target.at(upstream).channel() as witness:
        witness.exchange_delete(there)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.exchange_bind(here, there)
    assert caught.value.reply_code == 404
    assert f"no exchange '{there}' in vhost '/'" in caught.value.reply_text
    tidy = connection.channel()
    tidy.exchange_delete(here)
    tidy.exchange_delete(there)


def test_an_error_names_the_method_that_failed(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    client.send(commands.Exchange.Bind(destination="not-there", source="amq.direct", routing_key="k"), channel=1)
    close = client.expect(commands.Channel.Close, 1)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 40, 30)


def test_headers_exchanges_bind_by_arguments(target: Target) -> None:
    channel = target.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    arguments = {"x-match": "all", "colour": "red", "size": 3}
    channel.queue_bind(queue, "amq.headers", "", arguments)
    for node in target.nodes.values():
        assert node.management is not None
        found = [binding["arguments"] for binding in node.management.bindings("/", queue)]
        assert arguments in found
    channel.queue_unbind(queue, "amq.headers", "", arguments)
    for node in target.nodes.values():
        assert node.management is not None
        assert [binding["source"] for binding in node.management.bindings("/", queue)] == [""]


@unproxied
def test_what_begins_with_x_is_compared_where_the_binding_says_so(target: Target) -> None:
    channel = target.channel()
    channel.confirm_delivery()
    exchange = unique("exchange")
    channel.exchange_declare(exchange, "headers", auto_delete=True)
    queues = {}
    for match in ("all", "any", "all-with-x", "any-with-x"):
        queues[match] = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queues[match], exchange, "", {"x-match": match, "x-kind": "a", "colour": "red"})
    for body, headers in {
        b"both": {"x-kind": "a", "colour": "red", "more": 1},
        b"colour": {"x-kind": "b", "colour": "red"},
        b"kind": {"x-kind": "a", "colour": "blue"},
        b"neither": {"x-kind": "b"},
    }.items():
        channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers))
    got: dict[str, list[bytes]] = {}
    for match, queue in queues.items():
        got[match] = []
        while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
            got[match].append(message[2])
    assert got == {
        "all": [b"both", b"colour"],
        "any": [b"both", b"colour"],
        "all-with-x": [b"both"],
        "any-with-x": [b"both", b"colour", b"kind"],
    }
