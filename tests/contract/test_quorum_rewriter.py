"""`quorum`: clients declare classic queues, and one of two brokers gets quorum queues."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.conftest import running
from tests.contract.receiving import Inbox
from tests.contract.target import Node, Target, Witness, fan_config, unique
from tests.proxy import TrabbitsProcess
from trabbits.testing.rabbitmq import RabbitNode

REWRITERS = [
    {"plugin": "queue_attributes", "options": {"arguments": {"x-max-length": 50}}},
    {"plugin": "quorum", "options": {"queues": ["rewritten-%", "spread.#", "spread-%"]}},
]


@pytest.fixture(scope="module")
def quorum_proxy(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """A fan proxy whose second upstream gets quorum queues."""
    config = fan_config(rabbit_a, rabbit_b)
    config["upstreams"][1]["rewriters"] = REWRITERS
    yield from running(TrabbitsProcess(config))


@pytest.fixture
def half_quorum(
    quorum_proxy: TrabbitsProcess,
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    witness_a: Witness,
    witness_b: Witness,
) -> Iterator[Target]:
    """The target that rewrites."""
    nodes = {"a": rabbit_a, "b": rabbit_b}
    target = Target("fan", quorum_proxy, nodes, {"a": witness_a, "b": witness_b})
    yield target
    target.close_all()


def arguments(node: Node, queue: str) -> dict[str, object]:
    assert node.management is not None
    found = node.management.queue("/", queue)
    assert found is not None
    result: dict[str, object] = found["arguments"]
    return result


def test_a_durable_queue_becomes_a_quorum_queue_where_that_is_wanted(
    half_quorum: Target, quorum_proxy: TrabbitsProcess
) -> None:
    channel = half_quorum.channel()
    queue = unique("rewritten")
    asked = {"x-max-priority": 3, "x-expires": 60000}
    for _ in range(2):  # declared again, it is the same queue
        channel.queue_declare(queue, durable=True, arguments=asked)
    assert arguments(half_quorum.node("a"), queue) == asked
    assert arguments(half_quorum.node("b"), queue) == {
        "x-expires": 60000,
        "x-max-length": 50,
        "x-queue-type": "quorum",
    }
    quorum_proxy.wait_for_log(event="quorum_arguments")
    told = [entry for entry in quorum_proxy.logs if entry.get("queue") == queue]
    assert [(entry["id"], entry["changes"]) for entry in told] == [("TR320", ["without x-max-priority"])]
    channel.queue_delete(queue)


def test_messages_pass_through_both_kinds_as_one_queue(half_quorum: Target) -> None:
    channel = half_quorum.channel()
    queue = half_quorum.spread_queue(channel, durable=True)
    bodies = half_quorum.fill(queue, 3)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(6)
    assert sorted(inbox.bodies) == sorted(bodies)
    inbox.deliveries[-1].ack(multiple=True)
    channel.queue_delete(queue)


@pytest.mark.parametrize("flags", [{}, {"durable": True, "exclusive": True}, {"durable": True, "auto_delete": True}])
def test_other_queues_stay_what_they_are(half_quorum: Target, flags: dict[str, bool]) -> None:
    channel = half_quorum.channel()
    queue = unique("rewritten")
    channel.queue_declare(queue, **flags)
    assert "x-queue-type" not in arguments(half_quorum.node("b"), queue)
    channel.queue_delete(queue)


def test_a_queue_of_another_name_stays_classic(half_quorum: Target) -> None:
    channel = half_quorum.channel()
    queue = unique("other")
    channel.queue_declare(queue, durable=True)
    assert arguments(half_quorum.node("b"), queue) == {"x-max-length": 50}
    channel.queue_delete(queue)
