"""`queue_options`: queues that are there are used as they are, and auto-delete is emulated where it was overridden."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from pamqp import commands

from tests.contract.conftest import running
from tests.contract.receiving import Inbox
from tests.contract.target import HOST, Node, Target, Witness, fan_config, plain_config, unique
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import RawClient, encode_methods, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

Queue = commands.Queue
KINDS = ("plain", "fan")
#: What RabbitMQ's classic queues understand, and what its quorum queues (and streams) refuse with 540 if asked so.
TYPES = pytest.mark.parametrize("queue_type", ["classic", "quorum"])


def with_options(config: dict[str, Any]) -> dict[str, Any]:
    """Every upstream keeps queues for good, and has both options."""
    for upstream in config["upstreams"]:
        upstream["queue_attributes"] = {"durable": True, "auto_delete": False}
        upstream["queue_options"] = {"try_passive": True, "emulate_auto_delete": True}
    return config


@pytest.fixture(scope="module")
def proxies(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[dict[str, TrabbitsProcess]]:
    """A plain and a fan proxy with both options."""
    plain = TrabbitsProcess(with_options(plain_config(rabbit_a)))
    fan = TrabbitsProcess(with_options(fan_config(rabbit_a, rabbit_b)))
    for started in running(plain):
        for other in running(fan):
            yield {"plain": started, "fan": other}


@pytest.fixture(params=KINDS)
def options(
    request: pytest.FixtureRequest,
    proxies: dict[str, TrabbitsProcess],
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    witness_a: Witness,
    witness_b: Witness,
) -> Iterator[Target]:
    """The target with both options."""
    nodes, witnesses = {"a": rabbit_a}, {"a": witness_a}
    if request.param == "fan":
        nodes["b"], witnesses["b"] = rabbit_b, witness_b
    target = Target(request.param, proxies[request.param], nodes, witnesses)
    yield target
    target.close_all()


def put_there(target: Target, queue: str, **attributes: Any) -> None:
    """Somebody else declares a queue, everywhere."""
    for place in target.places:
        with place.channel() as channel:
            channel.queue_declare(queue, **attributes)


def remove(target: Target, queue: str) -> None:
    """Nobody needs it any more."""
    for place in target.places:
        with place.channel() as channel:
            channel.queue_delete(queue)


def attributes(node: Node, queue: str) -> tuple[bool, bool, dict[str, object]]:
    assert node.management is not None
    found = node.management.queue("/", queue)
    assert found is not None
    return found["durable"], found["auto_delete"], found["arguments"]


def is_nowhere(target: Target, queue: str) -> bool:
    return not any(place.has_queue(queue) for place in target.places)


def logged(target: Target, event: str, queue: str) -> list[dict[str, Any]]:
    assert isinstance(target.address, TrabbitsProcess)
    return target.address.find_logs(event=event, queue=queue)


class TestTryPassive:
    def test_a_queue_that_is_there_is_used_as_it_is(self, options: Target) -> None:
        """Declared with attributes that a broker would refuse with 406; the channel goes on."""
        queue = unique("there")
        put_there(options, queue, arguments={"x-max-length": 7})
        options.at("a").put(queue, b"one")
        channel = options.channel()
        reply = channel.queue_declare(queue, durable=False, arguments={"x-max-length": 9, "x-max-priority": 3})
        assert (reply.method.queue, reply.method.message_count) == (queue, 1)
        assert channel.basic_get("", auto_ack=True)[2] == b"one"  # the last declared one, for the broker, too
        for node in options.nodes.values():
            assert attributes(node, queue) == (False, False, {"x-max-length": 7})
        channel.queue_delete(queue)

    def test_a_queue_that_is_missing_is_declared_as_configured(self, options: Target) -> None:
        queue = unique("missing")
        channel = options.channel()
        for _ in range(2):
            assert channel.queue_declare(queue, arguments={"x-max-length": 9}).method.queue == queue
            for node in options.nodes.values():
                assert attributes(node, queue) == (True, False, {"x-max-length": 9})
        channel.queue_delete(queue)

    @pytest.mark.parametrize("options", ["fan"], indirect=True)
    def test_each_upstream_by_itself(self, options: Target) -> None:
        queue = unique("half")
        with options.at("b").channel() as at_b:
            at_b.queue_declare(queue, auto_delete=True)
        channel = options.channel()
        channel.queue_declare(queue)
        assert attributes(options.node("a"), queue)[:2] == (True, False)
        assert attributes(options.node("b"), queue)[:2] == (False, True)
        channel.queue_delete(queue)

    def test_nowait(self, options: Target) -> None:
        there, missing = unique("there"), unique("missing")
        put_there(options, there)
        client = options.raw()
        client.open_channel()
        client.send(Queue.Declare(queue=there, nowait=True), Queue.Declare(queue=missing, nowait=True), channel=1)
        for queue in (there, missing):
            assert client.call(Queue.Declare(queue=queue, passive=True), Queue.DeclareOk).queue == queue
        for node in options.nodes.values():
            assert attributes(node, there)[0] is False
            assert attributes(node, missing)[0] is True
        for queue in (there, missing):
            client.call(Queue.Delete(queue=queue), Queue.DeleteOk)

    @pytest.mark.parametrize("nowait", [False, True])
    def test_deleted_and_declared_in_one_go(self, nowait: bool, options: Target) -> None:
        """The queue that is being deleted is not taken for one that is there; replies keep their order."""
        queue = unique("again")
        put_there(options, queue)
        client = options.raw()
        client.open_channel()
        client.send(
            Queue.Delete(queue=queue, nowait=nowait),
            Queue.Declare(queue=queue),
            Queue.Bind(queue=queue, exchange="amq.direct", routing_key=queue),
            channel=1,
        )
        client.publish(exchange="amq.direct", routing_key=queue, body=b"behind it")
        if not nowait:
            client.expect(Queue.DeleteOk, channel=1)
        client.expect(Queue.DeclareOk, channel=1)
        client.expect(Queue.BindOk, channel=1)
        client.send(commands.Basic.Get(queue=queue, no_ack=True), channel=1)
        assert client.expect_content(commands.Basic.GetOk).body == b"behind it"
        for node in options.nodes.values():
            assert attributes(node, queue)[0] is True
        client.call(Queue.Delete(queue=queue), Queue.DeleteOk)

    def test_many_declares_on_several_channels_in_one_go(self, options: Target) -> None:
        queues = [unique("many") for _ in range(20)]
        for queue in queues[::2]:
            put_there(options, queue)
        client = options.raw()
        for channel in (1, 2, 3):
            client.open_channel(channel)
        declares = [
            encode_methods(Queue.Declare(queue=queue, arguments={"x-max-length": 3}), channel=1 + at % 3)
            for at, queue in enumerate(queues)
        ]
        client.send_octets(b"".join(declares))
        answers = [client.receive_method() for _ in queues]
        for channel in (1, 2, 3):
            expected = [queue for at, queue in enumerate(queues) if 1 + at % 3 == channel]
            assert [getattr(answer, "queue", answer) for on, answer in answers if on == channel] == expected
        for queue in queues:
            client.call(Queue.Delete(queue=queue), Queue.DeleteOk)

    def test_a_queue_of_another_connection_is_refused_as_ever(self, options: Target) -> None:
        queue = unique("locked")
        owner = pika.BlockingConnection(pika.ConnectionParameters(HOST, options.node("a").port))
        owner.channel().queue_declare(queue, exclusive=True)
        channel = options.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            channel.queue_declare(queue)
        assert refused.value.reply_code == 405
        owner.close()
        remove(options, queue)


class TestEmulateAutoDelete:
    @TYPES
    def test_a_client_that_leaves(self, queue_type: str, options: Target) -> None:
        """Its own consumers do not keep the queue, and once close-ok is there the queue is not."""
        connection = options.connect()
        channel = connection.channel()
        queue = unique("left")
        channel.queue_declare(queue, durable=True, auto_delete=True, arguments={"x-queue-type": queue_type})
        Inbox.consuming(channel, queue)
        assert not is_nowhere(options, queue)
        connection.close()
        assert eventually(lambda: is_nowhere(options, queue))
        eventually(lambda: len(logged(options, "queue_deleted", queue)) == options.links)

    def test_close_ok_means_that_it_is_gone(self, options: Target) -> None:
        connection = options.connect()
        queues = [unique("gone") for _ in range(5)]
        channel = connection.channel()
        for queue in queues:
            channel.queue_declare(queue, auto_delete=True)
        connection.close()
        assert all(is_nowhere(options, queue) for queue in queues)

    @pytest.mark.parametrize("half_a_message", [False, True], ids=["", "in the middle of a message"])
    def test_a_client_that_vanishes(self, half_a_message: bool, options: Target) -> None:
        client = options.raw()
        client.open_channel(1)
        client.open_channel(2)
        queue = unique("vanished")
        client.call(Queue.Declare(queue=queue, auto_delete=True), Queue.DeclareOk)
        client.call(commands.Basic.Consume(queue=queue, consumer_tag="c"), commands.Basic.ConsumeOk)
        if half_a_message:
            whole = encode_methods(commands.Basic.Publish(routing_key=queue), channel=2)
            client.send_octets(whole)
            # It has reached the brokers when this is answered.
            client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
        client.close()
        assert eventually(lambda: is_nowhere(options, queue))

    @TYPES
    def test_a_queue_that_others_consume_from_stays(self, queue_type: str, options: Target) -> None:
        connection = options.connect()
        queue = unique("shared")
        arguments = {"x-queue-type": queue_type}
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=True, arguments=arguments)
        other = options.channel()
        inbox = Inbox.consuming(other, queue)
        connection.close()
        eventually(lambda: logged(options, "queue_not_deleted", queue))
        for place in options.places:
            place.put(queue, b"still there")
        inbox.wait_for(options.links)
        other.queue_delete(queue)

    def test_a_queue_that_the_client_deleted_is_somebody_elses(self, options: Target) -> None:
        connection = options.connect()
        queue = unique("taken over")
        channel = connection.channel()
        channel.queue_declare(queue, auto_delete=True)
        channel.queue_delete(queue)
        put_there(options, queue)
        connection.close()
        assert all(place.has_queue(queue) for place in options.places)
        remove(options, queue)

    def test_a_queue_that_was_there_stays(self, options: Target) -> None:
        connection = options.connect()
        queue = unique("before")
        put_there(options, queue)
        connection.channel().queue_declare(queue, auto_delete=True)
        connection.close()
        assert all(place.has_queue(queue) for place in options.places)
        remove(options, queue)

    def test_a_queue_that_was_not_to_be_deleted_stays(self, options: Target) -> None:
        connection = options.connect()
        queue = unique("lasting")
        connection.channel().queue_declare(queue)
        connection.close()
        assert not is_nowhere(options, queue)
        remove(options, queue)

    def test_when_trabbits_stops(self, trabbits: ProxyFactory, rabbit_a: RabbitNode, witness_a: Witness) -> None:
        proxy = trabbits(with_options(plain_config(rabbit_a)))
        client = RawClient.open(HOST, proxy.port)
        client.open_channel()
        queue = unique("stopped")
        client.call(Queue.Declare(queue=queue, auto_delete=True), Queue.DeclareOk)
        client.call(commands.Basic.Consume(queue=queue, consumer_tag="c"), commands.Basic.ConsumeOk)
        proxy.send_signal(signal.SIGTERM)
        client.expect(commands.Connection.Close)
        client.send(commands.Connection.CloseOk())
        assert proxy.wait() == 0
        assert not witness_a.has_queue(queue)
        client.close()
