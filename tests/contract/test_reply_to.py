"""Direct reply-to: request and answer without a reply queue, between two connections."""

from __future__ import annotations

import pika
import pytest
from pamqp import commands
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from tests.contract.receiving import Delivery, Inbox, barrier
from tests.contract.target import Target, each_upstream

REPLY_TO = "amq.rabbitmq.reply-to"


def ask(target: Target, upstream: str, requester: BlockingChannel, server: BlockingChannel, body: bytes) -> Delivery:
    """Sends a request through `upstream`; the request as the server sees it."""
    queue = target.spread_queue(server, "requests", auto_delete=True)
    requests = Inbox.consuming(server, queue, auto_ack=True)
    target.publish_to(requester, upstream, queue, body, properties=pika.BasicProperties(reply_to=REPLY_TO))
    return requests.wait_for(1)[0]


@each_upstream
def test_an_answer_reaches_the_requester(target: Target, upstream: str) -> None:
    requester, server = target.channel(), target.channel()
    answers = Inbox.consuming(requester, REPLY_TO, auto_ack=True)
    for number in range(3):
        request = ask(target, upstream, requester, server, b"ping %d" % number)
        assert request.properties.reply_to.startswith(f"{REPLY_TO}.")
        server.basic_publish("", request.properties.reply_to, b"pong %d" % number)
        answers.wait_for(number + 1)
    assert answers.bodies == [b"pong 0", b"pong 1", b"pong 2"]
    assert {delivery.method.consumer_tag for delivery in answers.deliveries} == {answers.consumer_tag}


def test_requests_through_both_upstreams_are_answered_on_one_consumer(target: Target) -> None:
    requester, server = target.channel(), target.channel()
    answers = Inbox.consuming(requester, REPLY_TO, auto_ack=True)
    for upstream in "abba":
        request = ask(target, upstream, requester, server, upstream.encode())
        server.basic_publish("", request.properties.reply_to, request.body)
    answers.wait_for(4)
    assert sorted(answers.bodies) == [b"a", b"a", b"b", b"b"]


@each_upstream
def test_a_confirmed_answer_is_confirmed_exactly_once(target: Target, upstream: str) -> None:
    requester, server = target.channel(), target.channel()
    answers = Inbox.consuming(requester, REPLY_TO, auto_ack=True)
    address = ask(target, upstream, requester, server, b"ping").properties.reply_to
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    for number in range(1, 6):
        client.publish("", address, b"%d" % number)
        confirm = client.expect(commands.Basic.Ack, 1)
        assert (confirm.delivery_tag, confirm.multiple) == (number, False)
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    answers.wait_for(5)
    assert answers.bodies == [b"1", b"2", b"3", b"4", b"5"]


@each_upstream
@pytest.mark.parametrize("requester_is_there", [True, False])
def test_a_mandatory_answer_counts_as_not_routed_and_comes_back_once(
    target: Target, upstream: str, requester_is_there: bool
) -> None:
    """That is how RabbitMQ documents it, even for an answer that was delivered."""
    connection = target.connect()
    requester, server = connection.channel(), target.channel()
    answers = Inbox.consuming(requester, REPLY_TO, auto_ack=True)
    address = ask(target, upstream, requester, server, b"ping").properties.reply_to
    if not requester_is_there:
        connection.close()
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    client.publish("", address, b"pong", mandatory=True)
    returned = client.expect_content(commands.Basic.Return)
    assert (returned.method.reply_code, returned.method.routing_key, returned.body) == (312, address, b"pong")
    assert client.expect(commands.Basic.Ack, 1).delivery_tag == 1
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    if requester_is_there:
        answers.wait_for(1)


@each_upstream
def test_answers_between_deliveries_do_not_disturb_acknowledgements(target: Target, upstream: str) -> None:
    """RabbitMQ gives an answer the tag of the delivery that comes next."""
    channel, server = target.channel(), target.channel()
    queue = target.spread_queue(channel)
    answers = Inbox.consuming(channel, REPLY_TO, auto_ack=True)
    address = ask(target, upstream, channel, server, b"ping").properties.reply_to
    work = Inbox.consuming(channel, queue)
    for number in range(6):
        server.basic_publish("", address, b"answer")
        answers.wait_for(number + 1)
        target.publish_to(channel, "ab"[number % 2], queue, b"work %d" % number)
        work.wait_for(number + 1)
    for delivery in work.deliveries[:4]:
        delivery.ack()
    barrier(channel, queue)
    channel.connection.close()
    left = target.channel()
    again = Inbox.consuming(left, queue, auto_ack=True)
    again.wait_for(2)
    barrier(left, queue)
    assert sorted(again.bodies) == [b"work 4", b"work 5"]
    left.queue_delete(queue)


def test_answers_cannot_be_acknowledged(target: Target) -> None:
    with pytest.raises(ChannelClosedByBroker) as caught:
        target.channel().basic_consume(REPLY_TO, lambda *_: None)
    assert caught.value.reply_code == 406
    assert "reply consumer cannot acknowledge" in caught.value.reply_text


@each_upstream
def test_a_request_without_a_consumer_for_the_answer_is_406(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel, auto_delete=True, exclusive=True)
    with pytest.raises(ChannelClosedByBroker) as caught:
        target.publish_to(channel, upstream, queue, b"?", properties=pika.BasicProperties(reply_to=REPLY_TO))
        channel.queue_declare(queue, passive=True)
    assert caught.value.reply_code == 406
    assert "fast reply consumer does not exist" in caught.value.reply_text


@each_upstream
def test_a_server_can_ask_whether_the_requester_is_still_there(target: Target, upstream: str) -> None:
    connection = target.connect()
    requester, server = connection.channel(), target.channel()
    Inbox.consuming(requester, REPLY_TO, auto_ack=True)
    name = ask(target, upstream, requester, server, b"ping").properties.reply_to
    assert server.queue_declare(name, passive=True).method.queue == name
    connection.close()
    with pytest.raises(ChannelClosedByBroker) as caught:
        server.queue_declare(name, passive=True)
    assert caught.value.reply_code == 404
