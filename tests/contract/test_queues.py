"""queue.declare, bind, unbind, purge, delete: on every node, with the counts of all nodes added up."""

from __future__ import annotations

import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from tests.contract.receiving import Inbox
from tests.contract.target import Target, each_upstream, proxied, unique
from trabbits.testing.raw_client import eventually


def test_a_declared_queue_exists_on_every_node_until_deleted(target: Target) -> None:
    channel = target.channel()
    queue = unique("queue")
    declared = channel.queue_declare(queue, durable=True).method
    assert (declared.queue, declared.message_count, declared.consumer_count) == (queue, 0, 0)
    assert all(place.has_queue(queue) for place in target.places)
    channel.queue_declare(queue, durable=True)
    assert channel.queue_delete(queue).method.message_count == 0
    assert not any(place.has_queue(queue) for place in target.places)


def test_attributes_of_a_queue_reach_every_node(target: Target) -> None:
    channel = target.channel()
    queue = unique("queue")
    arguments = {"x-max-length": 10, "x-dead-letter-exchange": "amq.fanout", "x-message-ttl": 60000}
    channel.queue_declare(queue, durable=True, auto_delete=True, arguments=arguments)
    for node in target.nodes.values():
        assert node.management is not None
        found = node.management.queue("/", queue)
        assert found is not None
        assert (found["durable"], found["auto_delete"]) == (True, True)
        assert found["arguments"] == arguments
    channel.queue_delete(queue)


def test_declare_counts_the_messages_of_all_nodes(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.at("a").put(queue, b"1", b"2")
    target.at("b").put(queue, b"3", b"4", b"5")
    assert channel.queue_declare(queue, passive=True).method.message_count == 5
    assert channel.queue_declare(queue).method.message_count == 5
    channel.queue_delete(queue)


def test_declare_counts_the_consumers_of_all_nodes(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    Inbox.consuming(channel, queue)
    assert channel.queue_declare(queue, passive=True).method.consumer_count == target.links
    assert all(place.consumers(queue) == 1 for place in target.places)
    channel.queue_delete(queue)


def test_purge_and_delete_count_the_messages_of_all_nodes(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.fill(queue, 3)
    assert channel.queue_purge(queue).method.message_count == 6
    assert target.depth(queue) == 0
    target.fill(queue, 2)
    assert channel.queue_delete(queue).method.message_count == 4


def test_deleting_a_missing_queue_is_no_error(target: Target) -> None:
    assert target.channel().queue_delete(unique("not-there")).method.message_count == 0


def test_a_server_named_queue_is_exclusive_and_gone_everywhere_with_its_connection(target: Target) -> None:
    connection = target.connect()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    assert queue.startswith("trabbits.gen-" if target.is_proxied else "amq.gen-")
    assert channel.queue_declare("", exclusive=True).method.queue != queue
    assert all(place.has_queue(queue) for place in target.places)
    with pytest.raises(ChannelClosedByBroker) as caught:
        target.channel().queue_declare(queue, passive=True)
    assert caught.value.reply_code == 405
    connection.close()
    eventually(lambda: not any(place.has_queue(queue) for place in target.places), what="the queue is gone")


@proxied
@pytest.mark.parametrize("flag", [True, False], ids=["asked to be exclusive", "not asked"])
def test_a_server_named_queue_of_the_proxy_is_exclusive_whatever_was_asked(target: Target, flag: bool) -> None:
    client = target.raw()
    client.open_channel(1)
    declare = commands.Queue.Declare(exclusive=flag, durable=False, auto_delete=False)
    queue = client.call(declare, commands.Queue.DeclareOk).queue or ""
    for place in target.places:
        with place.channel() as channel, pytest.raises(ChannelClosedByBroker) as caught:
            channel.queue_declare(queue, passive=True)
        assert caught.value.reply_code == 405
    client.close()
    eventually(lambda: not any(place.has_queue(queue) for place in target.places), what="the queue is gone")


def test_exclusive_queues_are_gone_everywhere_when_the_client_vanishes(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    named = unique("mine")
    client.call(commands.Queue.Declare(queue=named, exclusive=True), commands.Queue.DeclareOk)
    unnamed = client.own_queue()
    assert all(place.has_queue(queue) for place in target.places for queue in (named, unnamed))
    client.close()
    eventually(
        lambda: not any(place.has_queue(queue) for place in target.places for queue in (named, unnamed)),
        what="the queues are gone",
    )


@each_upstream
def test_a_server_named_queue_is_the_current_queue_of_its_channel(target: Target, upstream: str) -> None:
    """An empty name in the other methods means the queue declared last on the channel."""
    client = target.raw()
    client.open_channel(1)
    queue = client.own_queue()
    key = target.key_for(upstream, unique("key"))
    client.call(commands.Queue.Bind(queue="", exchange="amq.direct", routing_key=key), commands.Queue.BindOk)
    client.publish("amq.direct", key, b"found")
    eventually(
        lambda: client.call(commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk).message_count
    )
    client.send(commands.Basic.Get(queue="", no_ack=True), channel=1)
    assert client.expect_content(commands.Basic.GetOk).body == b"found"
    assert client.call(commands.Queue.Purge(queue=""), commands.Queue.PurgeOk).message_count == 0
    consume = commands.Basic.Consume(queue="", consumer_tag="c")
    assert client.call(consume, commands.Basic.ConsumeOk).consumer_tag == "c"
    client.close_politely()


def test_a_named_queue_is_the_current_queue_of_its_channel_too(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    queue = unique("current")
    client.call(commands.Queue.Declare(queue=queue, exclusive=True), commands.Queue.DeclareOk)
    client.send(commands.Basic.Get(queue=""), channel=1)
    client.expect(commands.Basic.GetEmpty, 1)
    client.call(commands.Queue.Delete(queue=""), commands.Queue.DeleteOk)
    assert not any(place.has_queue(queue) for place in target.places)


def test_no_queue_has_an_empty_name(target: Target) -> None:
    with pytest.raises(ChannelClosedByBroker) as caught:
        target.channel().queue_declare("", passive=True)
    assert caught.value.reply_code == 404
    assert "no queue '' in vhost '/'" in caught.value.reply_text


@each_upstream
def test_an_inequivalent_queue_on_one_upstream_is_406(target: Target, upstream: str) -> None:
    queue = unique("queue")
    with target.at(upstream).channel() as witness:
        witness.queue_declare(queue, durable=True)
    connection = target.connect()
    with pytest.raises(ChannelClosedByBroker) as caught:
        connection.channel().queue_declare(queue, durable=False)
    assert caught.value.reply_code == 406
    assert f"inequivalent arg 'durable' for queue '{queue}' in vhost '/'" in caught.value.reply_text
    connection.channel().queue_delete(queue)


@each_upstream
def test_if_empty_keeps_a_queue_that_one_upstream_has_messages_in(target: Target, upstream: str) -> None:
    connection = target.connect()
    channel = connection.channel()
    queue = target.spread_queue(channel)
    target.at(upstream).put(queue, b"kept")
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.queue_delete(queue, if_empty=True)
    assert caught.value.reply_code == 406
    assert f"queue '{queue}' in vhost '/' not empty" in caught.value.reply_text
    assert target.at(upstream).take(queue) == [b"kept"]
    connection.channel().queue_delete(queue)


def test_if_unused_keeps_a_queue_with_a_consumer(target: Target) -> None:
    connection = target.connect()
    channel = connection.channel()
    queue = target.spread_queue(channel)
    Inbox.consuming(channel, queue)
    with pytest.raises(ChannelClosedByBroker) as caught:
        connection.channel().queue_delete(queue, if_unused=True)
    assert caught.value.reply_code == 406
    assert f"queue '{queue}' in vhost '/' in use" in caught.value.reply_text
    channel.queue_delete(queue)


def test_an_auto_delete_queue_goes_everywhere_with_its_last_consumer(target: Target) -> None:
    channel = target.channel()
    queue = unique("auto")
    channel.queue_declare(queue, auto_delete=True)
    first, second = Inbox.consuming(channel, queue), Inbox.consuming(channel, queue)
    channel.basic_cancel(first.consumer_tag)
    assert all(place.has_queue(queue) for place in target.places)
    channel.basic_cancel(second.consumer_tag)
    eventually(lambda: not any(place.has_queue(queue) for place in target.places), what="the queue is gone")


@each_upstream
def test_a_binding_works_until_it_is_undone(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    key = target.key_for(upstream, unique("key"))
    inbox = Inbox.consuming(channel, queue)
    channel.queue_bind(queue, "amq.topic", key)
    channel.basic_publish("amq.topic", key, b"bound")
    inbox.wait_for(1)
    channel.queue_unbind(queue, "amq.topic", key)
    channel.basic_publish("amq.topic", key, b"unbound")
    channel.queue_bind(queue, "amq.topic", key)
    channel.basic_publish("amq.topic", key, b"bound again")
    inbox.wait_for(2)
    assert inbox.bodies == [b"bound", b"bound again"]


def test_binding_to_a_missing_exchange_is_404(target: Target) -> None:
    channel = target.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.queue_bind(queue, "not-there", "key")
    assert caught.value.reply_code == 404
    assert "no exchange 'not-there' in vhost '/'" in caught.value.reply_text


@pytest.mark.parametrize("name", ["ключ-ü-漢字", "n" * 255], ids=["not ASCII", "255 octets"])
def test_any_short_string_is_a_queue_name(target: Target, name: str) -> None:
    channel = target.channel()
    assert channel.queue_declare(name, exclusive=True).method.queue == name
    inbox = Inbox.consuming(channel, name)
    channel.basic_publish("", name, b"found")
    inbox.wait_for(1)
    assert inbox.deliveries[0].method.routing_key == name
