"""Routing by the values of headers and other properties.

Lives here: `Headers` and its declaration.  Must not know: how properties stand in a frame.

Values are compared by kind, as RabbitMQ's headers exchanges do it: texts with texts, numbers with numbers, true and
false with each other; null in a rule asks only whether the header or property is there.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias

from attrs import Factory, frozen
from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from trabbits.interfaces import IPropertyRoutingStrategy, IRoutingStrategy, MessageProperties
from trabbits.plugins.declaring import Plugin, PluginOptions, UpstreamName
from trabbits.plugins.sticky import HeaderName

#: The properties but the headers; those of numbers among them.
PropertyName: TypeAlias = Literal[
    "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "expiration",
    "message_id", "timestamp", "type", "user_id", "app_id",
]  # fmt: skip
_NUMBERS: Final = frozenset(("delivery_mode", "priority", "timestamp"))


class _Present:
    """Stands for any value."""


_PRESENT: Final = _Present()
_MISSING: Final = object()

#: What a condition looks at: whether it is a header, and its name.
_Where: TypeAlias = tuple[bool, str]


@frozen
class Rule:
    """A message in which all of these headers and properties (with `any`: one) have these values goes to `upstream`."""

    match: Mapping[str, Any]
    upstream: str
    any: bool = False
    properties: Mapping[PropertyName, Any] = Factory(dict)

    def conditions(self) -> list[tuple[_Where, Hashable]]:
        """What has to hold; there is at least one."""
        wanted: list[tuple[_Where, Any]] = [((True, name), value) for name, value in self.match.items()]
        wanted += [((False, name), value) for name, value in self.properties.items()]
        return [(where, _comparable_or_present(value)) for where, value in wanted]


@frozen
class _Candidate:
    """A rule that holds if a header or property has a value, and if the other conditions hold as well."""

    rank: int
    others: tuple[tuple[_Where, Hashable], ...]
    upstream: str


@implementer(IPropertyRoutingStrategy)
class Headers:
    """The first rule that holds gives the upstream, `default` the one for messages for which none does.

    Thousands of rules over a few headers cost no more than a few: they are found by the values.
    """

    def __init__(self, rules: Sequence[Rule], default: str | None = None) -> None:
        self._default = default
        self.header_names = tuple(dict.fromkeys(name for rule in rules for name in rule.match))
        self.property_names = tuple(dict.fromkeys(name for rule in rules for name in rule.properties))
        found: dict[_Where, dict[Hashable, list[_Candidate]]] = {}
        for rank, rule in enumerate(rules):
            conditions = rule.conditions()
            # If all of them have to hold, it is enough to come across the rule by one of them.
            ways = [(condition, ()) for condition in conditions] if rule.any else [(conditions[0], conditions[1:])]
            for (where, value), others in ways:
                candidates = found.setdefault(where, {}).setdefault(value, [])
                candidates.append(_Candidate(rank, tuple(others), rule.upstream))
        #: What is looked at, with the candidates by its value, and those for any value.
        self._looks = [(where, by_value, by_value.pop(_PRESENT, ())) for where, by_value in found.items()]

    def route(self, exchange: str, routing_key: str) -> str | None:
        return self._default

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        best: _Candidate | None = None
        for where, by_value, present in self._looks:
            value = _value(where, properties)
            if value is _MISSING:
                continue
            for candidates in (by_value.get(_comparable(value), ()), present):
                for candidate in candidates:
                    if best is not None and best.rank <= candidate.rank:
                        break  # the others come later still
                    if not candidate.others or _hold(candidate.others, properties):
                        best = candidate
                        break
        return self._default if best is None else best.upstream


def _value(where: _Where, properties: MessageProperties) -> Any:
    """What stands there in a message, a null header included; else `_MISSING`."""
    is_header, name = where
    if is_header:
        return properties.headers.get(name, _MISSING)
    value = getattr(properties, name)
    return _MISSING if value is None else value


def _hold(conditions: Sequence[tuple[_Where, Hashable]], properties: MessageProperties) -> bool:
    for where, wanted in conditions:
        value = _value(where, properties)
        if value is _MISSING or (wanted is not _PRESENT and _comparable(value) != wanted):
            return False
    return True


def _comparable(value: Any) -> Hashable:
    """Something that equals what it shall equal and can be looked up: for Python, true is the number 1."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, int | float | Decimal):
        return value
    return None  # equals no value of a rule


def _comparable_or_present(value: Any) -> Hashable:
    return _PRESENT if value is None else _comparable(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, str | int | type(None)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    what = "a string, a number, true, false, or null for any value"
    raise PydanticCustomError("expected", "expected {what}", {"what": what})


Scalar = Annotated[
    Any, AfterValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean", "null"]}, mode="validation")
]


def _of_their_kind(wanted: dict[str, Any]) -> dict[str, Any]:
    for name, value in wanted.items():
        kind, what = (int, "a whole number") if name in _NUMBERS else (str, "a string")
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            what = f'{what} for the property "{name}", or null for any value'
            raise PydanticCustomError("expected", "expected {what}", {"what": what, "hide": True})
    return wanted


class HeadersRule(PluginOptions):
    """Which messages go to an upstream."""

    match: dict[HeaderName, Scalar] = {}
    """Headers and the values that they have to have, of the same kind: "1" is not 1; null: any value at all."""
    properties: Annotated[dict[PropertyName, Scalar], AfterValidator(_of_their_kind)] = {}
    """Other properties and the values that they have to have; null: any value at all."""
    any: bool = False
    """Whether one of all these is enough."""
    upstream: UpstreamName
    """What gets these messages."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> HeadersRule:
        if not self.match and not self.properties:
            what = '"match" or "properties" with at least one name'
            raise PydanticCustomError("expected", "expected {what}", {"what": what, "hide": True})
        return self


class HeadersOptions(PluginOptions):
    """Rules, and what happens to all other messages."""

    rules: Annotated[list[HeadersRule], Field(min_length=1)]
    """The first rule that holds decides."""
    default: UpstreamName | None = None
    """What gets messages for which no rule holds; null: no opinion, so the first upstream."""


headers = Plugin(
    "headers",
    IRoutingStrategy,
    HeadersOptions,
    lambda options, _: Headers(
        [Rule(rule.match, rule.upstream, rule.any, rule.properties) for rule in options.rules], options.default
    ),
    "rules about the values of headers and other properties",
)
