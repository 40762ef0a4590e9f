"""`queue_attributes` and `exchange_attributes`: each upstream declares queues and exchanges as its configuration says.

Queues that the server names are excepted.
"""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest

from tests.contract.conftest import running
from tests.contract.receiving import Inbox
from tests.contract.target import Node, Target, Witness, fan_config, unique
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.trabbits_process import TrabbitsProcess

REWRITING = {
    "a": {"durable": True, "arguments": {"x-max-length": 5, "x-expires": None}},
    "b": {"auto_delete": True, "exclusive": False, "arguments": {"x-queue-type": "classic"}},
}
#: Of nodes without the plugin for it.
NOT_DELAYED = {"declared_type": "x-delayed-message", "type": "topic", "arguments": {"x-delayed-type": None}}
RULES = {
    "a": [NOT_DELAYED],
    "b": [
        {
            "exchange": "rewritten-%",
            "type": "topic",
            "durable": True,
            "auto_delete": False,
            "arguments": {"alternate-exchange": "amq.fanout"},
        },
        NOT_DELAYED,
    ],
}


@pytest.fixture(scope="module")
def rewriting_proxy(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """A fan proxy whose upstreams both change queues."""
    config = fan_config(rabbit_a, rabbit_b)
    for upstream in config["upstreams"]:
        upstream["queue_attributes"] = REWRITING[upstream["name"]]
        rules = {"rules": RULES[upstream["name"]]}
        upstream["rewriters"] = [{"plugin": "exchange_attributes", "options": rules}]
    yield from running(TrabbitsProcess(config))


@pytest.fixture
def rewriting(
    rewriting_proxy: TrabbitsProcess,
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    witness_a: Witness,
    witness_b: Witness,
) -> Iterator[Target]:
    """The target that rewrites."""
    nodes = {"a": rabbit_a, "b": rabbit_b}
    target = Target("fan", rewriting_proxy, nodes, {"a": witness_a, "b": witness_b})
    yield target
    target.close_all()


def attributes(node: Node, queue: str) -> tuple[bool, bool, dict[str, object]]:
    assert node.management is not None
    found = node.management.queue("/", queue)
    assert found is not None
    return found["durable"], found["auto_delete"], found["arguments"]


def test_each_upstream_declares_a_queue_in_its_own_way(rewriting: Target) -> None:
    channel = rewriting.channel()
    queue = unique("rewritten")
    asked = {"x-expires": 60000, "x-max-length": 100, "x-max-priority": 3}
    channel.queue_declare(queue, durable=False, arguments=asked)
    at_a = attributes(rewriting.node("a"), queue)
    at_b = attributes(rewriting.node("b"), queue)
    assert at_a == (True, False, {"x-max-length": 5, "x-max-priority": 3})
    assert at_b == (False, True, {**asked, "x-queue-type": "classic"})
    channel.queue_declare(queue, durable=False, arguments=asked)
    channel.queue_delete(queue)


def test_the_client_uses_a_rewritten_queue_as_if_it_were_its_own(rewriting: Target) -> None:
    channel = rewriting.channel()
    queue = rewriting.spread_queue(channel)
    bodies = rewriting.fill(queue, 3)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(6)
    assert sorted(inbox.bodies) == sorted(bodies)
    inbox.deliveries[-1].ack(multiple=True)
    channel.queue_delete(queue)


def test_exclusive_may_be_taken_away(rewriting: Target) -> None:
    channel = rewriting.channel()
    queue = unique("exclusive")
    channel.queue_declare(queue, exclusive=True)
    assert rewriting.at("b").depth(queue) == 0  # anybody may look
    channel.queue_delete(queue)


def test_server_named_queues_are_not_rewritten(rewriting: Target) -> None:
    channel = rewriting.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for node in rewriting.nodes.values():
        assert attributes(node, queue) == (False, False, {})


def test_a_passive_declare_is_not_rewritten(rewriting: Target) -> None:
    channel = rewriting.channel()
    queue = unique("rewritten")
    channel.queue_declare(queue)
    assert channel.queue_declare(queue, passive=True).method.queue == queue
    channel.queue_delete(queue)


def test_each_upstream_declares_an_exchange_in_its_own_way(rewriting: Target) -> None:
    """RabbitMQ compares what it has with every declare."""
    channel = rewriting.channel()
    exchange = unique("rewritten")
    channel.exchange_declare(exchange, "direct", auto_delete=True)
    channel.exchange_declare(exchange, "direct", auto_delete=True)
    channel.exchange_declare(exchange, passive=True)
    with rewriting.at("a").channel() as behind:
        behind.exchange_declare(exchange, "direct", auto_delete=True)
    with rewriting.at("b").channel() as behind:
        arguments = {"alternate-exchange": "amq.fanout"}
        behind.exchange_declare(exchange, "topic", durable=True, arguments=arguments)
    channel.exchange_delete(exchange)


def test_what_nobody_is_bound_for_goes_to_the_alternate_exchange(rewriting: Target) -> None:
    channel = rewriting.channel()
    channel.confirm_delivery()
    exchange, queue = unique("rewritten"), unique("unrouted")
    channel.exchange_declare(exchange, "direct")
    channel.queue_declare(queue, durable=True, auto_delete=False)
    channel.queue_bind(queue, "amq.fanout")
    channel.basic_publish(exchange, rewriting.key_for("b", "nobody"), b"lost", mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish(exchange, rewriting.key_for("a", "nobody"), b"lost", mandatory=True)
    assert rewriting.at("b").take(queue) == [b"lost"]
    channel.queue_delete(queue)
    channel.exchange_delete(exchange)


def test_an_exchange_of_a_type_that_no_node_has(rewriting: Target) -> None:
    channel = rewriting.channel()
    exchange, queue = unique("late"), rewriting.spread_queue(channel)
    channel.exchange_declare(exchange, "x-delayed-message", arguments={"x-delayed-type": "direct"})
    channel.queue_bind(queue, exchange, "#")
    channel.confirm_delivery()
    for upstream in ("a", "b"):
        channel.basic_publish(exchange, rewriting.key_for(upstream, "late"), b"now", mandatory=True)
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    inbox.wait_for(2)
    channel.queue_delete(queue)
    channel.exchange_delete(exchange)
