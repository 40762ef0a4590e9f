"""Every built-in queue rewriter keeps to the contract of its kind, and so do several of them in a row."""

from __future__ import annotations

from typing import Any

from tests.plugins.contracts import untested
from trabbits.interfaces import Binding, ExchangeDeclare, IQueueAttributeRewriter, QueueDeclare
from trabbits.plugins.exchange_attributes import exchange_attributes
from trabbits.plugins.queue_attributes import FixedQueueAttributes, queue_attributes
from trabbits.plugins.quorum import Quorum, quorum
from trabbits.plugins.rename import rename
from trabbits.session.rewriting import RewriterChain
from trabbits.testing.contracts import (
    QueueAttributeRewriterTestsMixIn,
    QueueRenamerTestsMixIn,
    TopologyRewriterTestsMixIn,
)


class Rewriting(QueueAttributeRewriterTestsMixIn):
    declares = (
        QueueDeclare("orders.eu", durable=True, arguments={"x-max-priority": 3, "x-own": 1}),
        QueueDeclare("orders.eu", auto_delete=True),
    )


class TestQuorum(Rewriting):
    plugin = quorum


class TestQuorumOfSome(Rewriting):
    plugin = quorum
    options = {"queues": ["orders.#"], "dropped": ["x-own"]}


class TestQueueAttributes(Rewriting):
    plugin = queue_attributes
    options = {"durable": True, "auto_delete": False, "arguments": {"x-expires": 1000, "x-own": None, "deep": [{}]}}


class Renaming(Rewriting, QueueRenamerTestsMixIn):
    pass


class TestRename(Renaming):
    plugin = rename
    options = {"prefix": "app1.", "suffix": "-eu"}


class TestRenameByPatterns(Renaming):
    plugin = rename
    options = {"patterns": [{"match": "orders*", "to": "shop.orders*"}, {"match": "invoices.eu", "to": "eu"}]}


class TestExchangeAttributes(Rewriting, TopologyRewriterTestsMixIn):
    plugin = exchange_attributes
    options = {
        "rules": [
            {"declared_type": "x-delayed-message", "type": "topic", "arguments": {"x-delayed-type": None}},
            {"exchange": "orders.#", "durable": True, "arguments": {"alternate-exchange": "lost"}},
        ]
    }
    exchanges = (
        ExchangeDeclare("late", "x-delayed-message", arguments={"x-delayed-type": "direct"}),
        ExchangeDeclare("orders.eu", "topic", auto_delete=True),
    )
    bindings = (Binding("orders.eu", "orders", routing_key="created.#"),)


class TestChain(Rewriting):
    def make_plugin(self, reactor: Any = None) -> Any:
        fixed = FixedQueueAttributes(durable=True, arguments={"x-own": None})
        return RewriterChain("a", [("queue_attributes", fixed), ("quorum", Quorum())])


def test_none_is_left_out() -> None:
    assert untested(IQueueAttributeRewriter, Rewriting) == set()
