"""The plugin `exchange_attributes`: which rule decides, what is left alone, and its options.

How attributes are laid over a declare is the session's, and tested there; what patterns mean with `key_patterns`.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from trabbits.interfaces import (
    Binding,
    BindingAttributes,
    ExchangeAttributes,
    ExchangeDeclare,
    IQueueAttributeRewriter,
    ITopologyRewriter,
    QueueAttributes,
    QueueDeclare,
)
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext

RULES: list[dict[str, Any]] = [
    {"exchange": "audit.#"},
    {"declared_type": "x-delayed-message", "type": "topic", "arguments": {"x-delayed-type": None}},
    {"exchange": "orders.*", "durable": True, "auto_delete": False, "arguments": {"alternate-exchange": "lost"}},
    {"exchange": "orders-%", "internal": True},
    {"exchange": "orders.eu", "type": "fanout"},  # too late
]
LATE = ExchangeAttributes(type="topic", arguments={"x-delayed-type": None})
ORDERS = ExchangeAttributes(durable=True, auto_delete=False, arguments={"alternate-exchange": "lost"})
SAME = ExchangeAttributes()


def made(*rules: dict[str, Any]) -> ITopologyRewriter:
    plugin = discover().get(IQueueAttributeRewriter, "exchange_attributes")
    rewriter: ITopologyRewriter = plugin.make(plugin.options.model_validate({"rules": list(rules)}), PluginContext())
    return rewriter


def test_fulfils_the_interface() -> None:
    verifyObject(ITopologyRewriter, made({}))


@pytest.mark.parametrize(
    ("declare", "wanted"),
    [
        (ExchangeDeclare("orders.eu"), ORDERS),
        (ExchangeDeclare("orders.eu", "topic", durable=True, arguments={"alternate-exchange": "x"}), ORDERS),
        (ExchangeDeclare("orders.eu.de"), SAME),
        (ExchangeDeclare("orders.eu", "x-delayed-message", arguments={"x-delayed-type": "direct"}), LATE),
        (ExchangeDeclare("mail", "x-delayed-message"), LATE),
        (ExchangeDeclare("audit.late", "x-delayed-message"), SAME),
        (ExchangeDeclare("audit"), SAME),
        (ExchangeDeclare("orders-2"), ExchangeAttributes(internal=True)),
        (ExchangeDeclare("bills"), SAME),
    ],
)
def test_the_first_rule_that_an_exchange_falls_under_decides(
    declare: ExchangeDeclare, wanted: ExchangeAttributes
) -> None:
    assert made(*RULES).rewrite_exchange(declare) == wanted


def test_exchanges_of_the_broker_are_left_alone() -> None:
    everything = made({"exchange": "#", "type": "topic"}, {"exchange": "", "type": "topic"})
    for name in ("", "amq.direct", "amq.rabbitmq.trace"):
        assert everything.rewrite_exchange(ExchangeDeclare(name)) == SAME
    assert everything.rewrite_exchange(ExchangeDeclare("amqp")) == ExchangeAttributes(type="topic")


def test_queues_and_bindings_are_left_alone() -> None:
    everything = made({"type": "topic", "durable": True})
    assert everything.rewrite(QueueDeclare("q")) == QueueAttributes()
    assert everything.rewrite_binding(Binding("x", "q", routing_key="k")) == BindingAttributes()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rules": []},
        {"rules": [{"exchange": "x" * 256}]},
        {"rules": [{"type": ""}]},
        {"rules": [{"type": "t" * 256}]},
        {"rules": [{"type": 7}]},
        {"rules": [{"declared_type": ""}]},
        {"rules": [{"durable": 1}]},
        {"rules": [{"exclusive": True}]},
        {"rules": [{"arguments": {"": 1}}]},
        {"rules": [{"arguments": {"x": 2**64}}]},
    ],
)
def test_options_that_nobody_can_mean_are_refused(options: dict[str, Any]) -> None:
    plugin = discover().get(IQueueAttributeRewriter, "exchange_attributes")
    with pytest.raises(ValidationError):
        plugin.options.model_validate(options)
