"""What an upstream is asked for when clients declare exchanges, by rules about their names.

Lives here: `ExchangeRules`, `RuledExchanges` and the declaration.  Must not know: how a declare is encoded, what
patterns mean (``key_patterns.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Annotated

from attrs import frozen
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from zope.interface import implementer

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
from trabbits.plugins.declaring import Plugin, PluginOptions
from trabbits.plugins.field_tables import FieldTable
from trabbits.plugins.key_patterns import match
from trabbits.plugins.option_types import SHORT_STRING_MAX, ExchangePattern

#: Exchanges of the broker's own begin like this (AMQP 0-9-1 section 3.1.3.1): clients declare them as they are.
_RESERVED = "amq."
_SAME_QUEUE = QueueAttributes()
_SAME_EXCHANGE = ExchangeAttributes()
_SAME_BINDING = BindingAttributes()


@frozen
class RuledExchanges:
    """Exchanges whose name looks like `pattern`, of one type only if there is a `declared_type`."""

    pattern: str
    attributes: ExchangeAttributes
    declared_type: str | None = None

    def has(self, declare: ExchangeDeclare) -> bool:
        """Whether this is one of them."""
        return self.declared_type in (None, declare.type) and match(self.pattern, declare.exchange)


@implementer(ITopologyRewriter)
class ExchangeRules:
    """The first rule that an exchange falls under says what it is asked for with."""

    def __init__(self, rules: Iterable[RuledExchanges]) -> None:
        self._rules = tuple(rules)

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        return _SAME_QUEUE

    def rewrite_exchange(self, declare: ExchangeDeclare) -> ExchangeAttributes:
        if declare.exchange and not declare.exchange.startswith(_RESERVED):
            for rule in self._rules:
                if rule.has(declare):
                    return rule.attributes
        return _SAME_EXCHANGE

    def rewrite_binding(self, binding: Binding) -> BindingAttributes:
        return _SAME_BINDING


def _type(name: str) -> str:
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= SHORT_STRING_MAX:
        what = f"the name of a type of exchanges, of 1 to {SHORT_STRING_MAX} octets"
        raise PydanticCustomError("expected", "expected {what}", {"what": what})
    return name


class ExchangeAttributesRule(PluginOptions):
    """Some exchanges, and what they are asked for with; an absent or null key changes nothing."""

    exchange: ExchangePattern = "#"
    """A pattern for names: * is one word, # zero or more words, % zero or more characters of a word; words are
    separated by dots."""
    declared_type: Annotated[str, AfterValidator(_type)] | None = None
    """Only exchanges that clients declare with this type; null: whatever their type."""
    type: Annotated[str, AfterValidator(_type)] | None = None
    """The type of these exchanges, such as direct, fanout, topic or headers; null: as the client says."""
    durable: bool | None = None
    """Whether they survive a restart of the broker; null: as the client says."""
    auto_delete: bool | None = None
    """Whether they go when their last binding goes; null: as the client says."""
    internal: bool | None = None
    """Whether only other exchanges may publish to them; null: as the client says."""
    arguments: FieldTable = {}
    """Laid over the client's arguments: a value replaces the client's or is added, null removes the client's."""


class ExchangeAttributesOptions(PluginOptions):
    """Rules; exchanges that fall under none stay as clients declare them."""

    rules: Annotated[list[ExchangeAttributesRule], Field(min_length=1)]
    """The first one that an exchange falls under decides."""


def _make(options: ExchangeAttributesOptions) -> ExchangeRules:
    return ExchangeRules(
        RuledExchanges(
            rule.exchange,
            ExchangeAttributes(
                type=rule.type,
                durable=rule.durable,
                auto_delete=rule.auto_delete,
                internal=rule.internal,
                arguments=deepcopy(rule.arguments),
            ),
            rule.declared_type,
        )
        for rule in options.rules
    )


exchange_attributes = Plugin(
    "exchange_attributes",
    IQueueAttributeRewriter,
    ExchangeAttributesOptions,
    lambda options, _: _make(options),
    "exchanges have other attributes at the upstream, by rules about their names",
)
