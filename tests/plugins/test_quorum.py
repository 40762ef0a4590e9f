"""`quorum`: which declares it changes and how, what it tells of it, and that a real broker takes the result."""

from __future__ import annotations

from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.exceptions import ChannelClosedByBroker
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare
from trabbits.log_ids import PluginLine
from trabbits.logs import catalogue_message
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.quorum import REFUSED, TOLD_LIMIT, Quorum, QuorumOptions, quorum
from trabbits.testing.rabbitmq import RabbitNode

QUORUM = {"x-queue-type": "quorum"}


class Lines:
    """A log."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, log_id: PluginLine, **fields: Any) -> None:
        self.texts.append(catalogue_message(log_id, fields))


def durable(queue: str = "q", **arguments: Any) -> QueueDeclare:
    return QueueDeclare(queue, durable=True, arguments={name.replace("_", "-"): arguments[name] for name in arguments})


def laid_over(declare: QueueDeclare, wanted: QueueAttributes) -> dict[str, Any]:
    """The arguments that the upstream gets."""
    both = {**declare.arguments, **wanted.arguments}
    return {name: value for name, value in both.items() if value is not None}


def test_fulfils_the_interface() -> None:
    made = quorum.make(QuorumOptions(), PluginContext())
    verifyObject(IQueueAttributeRewriter, made)
    assert isinstance(made, Quorum)
    assert discover().get(IQueueAttributeRewriter, "quorum") is quorum


@pytest.mark.parametrize(
    ("declare", "wanted"),
    [
        pytest.param(durable(), QUORUM, id="durable"),
        pytest.param(durable(x_queue_type="classic"), QUORUM, id="classic"),
        pytest.param(durable(x_max_length=3), QUORUM, id="accepted arguments stay"),
        pytest.param(durable(x_queue_type="quorum", x_max_priority=3), {}, id="quorum already: the client's business"),
        pytest.param(durable(x_queue_type="stream", x_max_age="1D"), {}, id="stream"),
        pytest.param(durable(x_queue_type=3), {}, id="nonsense: the broker says so"),
        pytest.param(QueueDeclare("q"), {}, id="transient"),
        pytest.param(QueueDeclare("q", durable=True, exclusive=True), {}, id="exclusive"),
        pytest.param(QueueDeclare("q", durable=True, auto_delete=True), {}, id="auto-delete"),
        pytest.param(durable(x_max_priority=3), {**QUORUM, "x-max-priority": None}, id="refused"),
        pytest.param(durable(x_overflow="reject-publish"), QUORUM, id="overflow"),
        pytest.param(
            durable(x_overflow="reject-publish-dlx"),
            {**QUORUM, "x-overflow": "reject-publish"},
            id="an overflow that would lose messages",
        ),
    ],
)
def test_what_becomes_of_a_declare(declare: QueueDeclare, wanted: dict[str, Any]) -> None:
    assert Quorum(log=Lines()).rewrite(declare) == QueueAttributes(arguments=wanted)


@pytest.mark.parametrize(
    ("queue", "changed"), [("orders.eu", True), ("orders", True), ("bills.eu", False), ("temp-7", True), ("", False)]
)
def test_only_queues_of_these_names(queue: str, changed: bool) -> None:
    options = QuorumOptions(queues=["orders.#", "temp-%"])
    rewriter = quorum.make(options, PluginContext())
    assert isinstance(rewriter, Quorum)
    assert bool(rewriter.rewrite(durable(queue)).arguments) is changed


def test_more_may_be_dropped() -> None:
    rewriter = Quorum(dropped=["x-message-ttl"], log=Lines())
    wanted = rewriter.rewrite(durable(x_message_ttl=5, x_queue_mode="lazy", x_expires=5)).arguments
    assert wanted == {**QUORUM, "x-message-ttl": None, "x-queue-mode": None}


@given(
    st.builds(
        QueueDeclare,
        queue=st.text(max_size=5),
        durable=st.booleans(),
        exclusive=st.booleans(),
        auto_delete=st.booleans(),
        arguments=st.dictionaries(
            st.sampled_from([*sorted(REFUSED), "x-queue-type", "x-overflow", "x-max-length"]),
            st.sampled_from(["classic", "quorum", "stream", "reject-publish-dlx", 7]),
        ),
    )
)
def test_nothing_refused_is_left_and_nothing_else_is_touched(declare: QueueDeclare) -> None:
    wanted = Quorum(log=Lines()).rewrite(declare)
    assert (wanted.durable, wanted.exclusive, wanted.auto_delete) == (None, None, None)
    after = laid_over(declare, wanted)
    if wanted.arguments:
        assert after.pop("x-queue-type") == "quorum"
        assert not REFUSED & set(after)
        assert declare.durable
        assert not declare.exclusive
        assert not declare.auto_delete
    untouched = set(declare.arguments) - REFUSED - {"x-queue-type", "x-overflow"}
    assert {name: after[name] for name in untouched} == {name: declare.arguments[name] for name in untouched}


def test_it_tells_once_for_each_queue_what_it_changed() -> None:
    log = Lines()
    rewriter = Quorum(log=log)
    for _ in range(3):
        rewriter.rewrite(durable("a", x_max_priority=3, x_queue_mode="lazy"))
        rewriter.rewrite(durable("b", x_overflow="reject-publish-dlx"))
        rewriter.rewrite(durable("c", x_max_length=3))
    assert log.texts == [
        "queue a is declared as a quorum queue: without x-max-priority, without x-queue-mode",
        "queue b is declared as a quorum queue: with x-overflow reject-publish",
    ]


def test_it_remembers_no_more_queues_than_its_bound() -> None:
    log = Lines()
    rewriter = Quorum(log=log)
    for number in range(TOLD_LIMIT + 1):
        rewriter.rewrite(durable(str(number), x_queue_mode="lazy"))
    rewriter.rewrite(durable("0", x_queue_mode="lazy"))
    assert len(log.texts) == TOLD_LIMIT + 2
    assert len(rewriter._told) <= TOLD_LIMIT


@pytest.mark.parametrize(
    "options", [{"queues": []}, {"queues": "#"}, {"dropped": [3]}, {"drop": ["x-message-ttl"]}, {"queues": None}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QuorumOptions.model_validate(options)


ARGUMENTS: dict[str, Any] = {
    "x-max-priority": 3,
    "x-queue-mode": "lazy",
    "x-queue-version": 2,
    "x-max-age": "1D",
    "x-stream-max-segment-size-bytes": 1000,
    "x-initial-cluster-size": 1,
    "x-queue-master-locator": "min-masters",
}
ACCEPTED: dict[str, Any] = {
    "x-max-length": 5,
    "x-max-length-bytes": 5000,
    "x-expires": 60000,
    "x-message-ttl": 60000,
    "x-dead-letter-exchange": "amq.direct",
    "x-dead-letter-routing-key": "k",
    "x-single-active-consumer": True,
    "x-overflow": "reject-publish-dlx",
    "x-delivery-limit": 3,
}


def test_a_broker_takes_what_it_makes_of_a_declare(rabbit_a: RabbitNode) -> None:
    """With every argument at once; the broker still refuses what is dropped."""
    declare = QueueDeclare("quorum-rewritten", durable=True, arguments={**ARGUMENTS, **ACCEPTED})
    after = laid_over(declare, Quorum(log=Lines()).rewrite(declare))
    assert after == {**ACCEPTED, **QUORUM, "x-overflow": "reject-publish"}
    with pika.BlockingConnection(pika.URLParameters(rabbit_a.url)) as connection:
        channel = connection.channel()
        channel.queue_declare(declare.queue, durable=True, arguments=after)
        channel.queue_delete(declare.queue)
        with pytest.raises(ChannelClosedByBroker) as refused:
            channel.queue_declare(declare.queue, durable=True, arguments={**after, "x-max-priority": 3})
        assert refused.value.reply_code == 406
