"""`TopologyRewriterTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

import pytest
from zope.interface import implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, making, rules_of
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
from trabbits.testing.contracts import PluginTestsMixIn, QueueAttributeRewriterTestsMixIn, TopologyRewriterTestsMixIn

case = making(
    TopologyRewriterTestsMixIn,
    exchanges=(ExchangeDeclare("late", "x-delayed-message", arguments={"x-delayed-type": "topic"}),),
    bindings=(Binding("orders", "orders.eu", routing_key="eu"), Binding("orders", "audit", "exchange", "eu")),
)


@implementer(ITopologyRewriter)
class Sound:
    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        return QueueAttributes()

    def rewrite_exchange(self, declare: ExchangeDeclare) -> Any:
        if declare.type != "x-delayed-message":
            return ExchangeAttributes()
        return ExchangeAttributes(type="topic", durable=True, arguments={"x-delayed-type": None})

    def rewrite_binding(self, binding: Binding) -> Any:
        return BindingAttributes(f"new.{binding.routing_key}", {"source": binding.source})


@implementer(IQueueAttributeRewriter)
class Silent:
    rewrite = Sound.rewrite
    rewrite_exchange = Sound.rewrite_exchange
    rewrite_binding = Sound.rewrite_binding


class Exchanges(Sound):
    """Answers what it is made with about exchanges."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def rewrite_exchange(self, declare: ExchangeDeclare) -> Any:
        return self.answer


class Bindings(Exchanges):
    """The same about bindings."""

    rewrite_exchange = Sound.rewrite_exchange

    def rewrite_binding(self, binding: Binding) -> Any:
        return self.answer


class Counts(Sound):
    def __init__(self) -> None:
        self._numbers = count()


class CountsExchanges(Counts):
    def rewrite_exchange(self, declare: ExchangeDeclare) -> Any:
        return ExchangeAttributes(arguments={"x-number": next(self._numbers)})


class CountsBindings(Counts):
    def rewrite_binding(self, binding: Binding) -> Any:
        return BindingAttributes(routing_key=str(next(self._numbers)))


class Tidies(Sound):
    def rewrite_binding(self, binding: Binding) -> Any:
        getattr(binding.arguments, "pop", lambda *_: None)("x-match", None)
        return BindingAttributes()


class TidiesInside(Sound):
    def rewrite_exchange(self, declare: ExchangeDeclare) -> Any:
        for value in declare.arguments.values():
            if isinstance(value, list):
                value.append(1)
        return ExchangeAttributes()


class Sleepy(Sound):
    def rewrite_exchange(self, declare: ExchangeDeclare) -> Any:
        time.sleep(0.03)
        return ExchangeAttributes()


class SleepyAboutBindings(Sound):
    def rewrite_binding(self, binding: Binding) -> Any:
        time.sleep(0.03)
        return BindingAttributes()


def exchange(answer: Any) -> Any:
    return case(lambda: Exchanges(answer))


def binding(answer: Any) -> Any:
    return case(lambda: Bindings(answer))


def wanting(kind: type[Any], **attributes: Any) -> Any:
    return kind(**attributes)


EXCHANGE = "test_answers_about_exchanges_are_attributes"
BINDING = "test_answers_about_bindings_are_attributes"
SAME = "test_the_same_exchange_and_binding_get_the_same_answer"
ALONE = "test_exchanges_and_bindings_are_left_alone"
PROMPT = "test_rewriting_topology_does_not_block"
WRONG = [
    Wrong("test_it_says_that_it_rewrites_topology", "does not provide ITopologyRewriter", case(Silent)),
    Wrong(EXCHANGE, "answered None, no ExchangeAttributes", exchange(None)),
    Wrong(EXCHANGE, "no ExchangeAttributes", exchange(QueueAttributes())),
    Wrong(EXCHANGE, "answered type '', no text", exchange(ExchangeAttributes(type=""))),
    Wrong(EXCHANGE, "answered type b'topic', no text", exchange(wanting(ExchangeAttributes, type=b"topic"))),
    Wrong(EXCHANGE, "answered internal 1, no bool", exchange(wanting(ExchangeAttributes, internal=1))),
    Wrong(EXCHANGE, "answered arguments None", exchange(wanting(ExchangeAttributes, arguments=None))),
    Wrong(EXCHANGE, "which AMQP cannot carry", exchange(ExchangeAttributes(arguments={"x-own": object()}))),
    Wrong(BINDING, "answered {}, no BindingAttributes", binding({})),
    Wrong(BINDING, "answered routing_key 7, no text", binding(wanting(BindingAttributes, routing_key=7))),
    Wrong(BINDING, "wants an argument named ''", binding(BindingAttributes(arguments={"": 1}))),
    Wrong("test_usable_bindings_have_room", "a key of 256 octets", binding(BindingAttributes("k" * 256))),
    Wrong(SAME, " now", case(CountsExchanges)),
    Wrong(SAME, " now", case(CountsBindings)),
    Wrong(ALONE, "it changes the arguments of Binding", case(Tidies)),
    Wrong(ALONE, "it changes the arguments of ExchangeDeclare", case(TidiesInside)),
    Wrong(PROMPT, "rewrite_exchange() takes", case(Sleepy)),
    Wrong(PROMPT, "rewrite_binding() takes", case(SleepyAboutBindings)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(TopologyRewriterTestsMixIn, QueueAttributeRewriterTestsMixIn)


@pytest.mark.parametrize("rule", sorted(rules_of(TopologyRewriterTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str) -> None:
    getattr(case(Sound)(), rule)()
