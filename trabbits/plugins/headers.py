"""Routing by the values of headers.

Lives here: `Headers` and its declaration.  Must not know: how headers stand in a frame.

Values are compared by kind, as RabbitMQ's headers exchanges do it: texts with texts, numbers with numbers, true and
false with each other; null in a rule asks only whether the header is there.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

from attrs import frozen
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from trabbits.interfaces import IHeaderRoutingStrategy, IRoutingStrategy
from trabbits.plugins.declaring import Plugin, PluginOptions, UpstreamName
from trabbits.plugins.sticky import HeaderName


class _Present:
    """Stands for any value."""


_PRESENT: Final = _Present()
_MISSING: Final = object()


@frozen
class Rule:
    """A message in which all of these headers (with `any`: one of them) have these values goes to `upstream`."""

    match: Mapping[str, Any]
    upstream: str
    any: bool = False


@frozen
class _Candidate:
    """A rule that holds if a header has a value, and if the other conditions hold as well."""

    rank: int
    others: tuple[tuple[str, Hashable], ...]
    upstream: str


@implementer(IHeaderRoutingStrategy)
class Headers:
    """The first rule that holds gives the upstream, `default` the one for messages for which none does.

    Thousands of rules over a few headers cost no more than a few: they are found by the values.
    """

    def __init__(self, rules: Sequence[Rule], default: str | None = None) -> None:
        self._default = default
        self.header_names = tuple(dict.fromkeys(header for rule in rules for header in rule.match))
        found: dict[str, dict[Hashable, list[_Candidate]]] = {}
        for rank, rule in enumerate(rules):
            conditions = [(header, _comparable_or_present(value)) for header, value in rule.match.items()]
            # If all of them have to hold, it is enough to come across the rule by one of them.
            ways = [(condition, ()) for condition in conditions] if rule.any else [(conditions[0], conditions[1:])]
            for (header, value), others in ways:
                candidates = found.setdefault(header, {}).setdefault(value, [])
                candidates.append(_Candidate(rank, tuple(others), rule.upstream))
        #: Each header with the candidates by its value, and those for any value.
        self._headers = [(header, by_value, by_value.pop(_PRESENT, ())) for header, by_value in found.items()]

    def route(self, exchange: str, routing_key: str) -> str | None:
        return self._default

    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> str | None:
        best: _Candidate | None = None
        for header, by_value, present in self._headers:
            value = headers.get(header, _MISSING)
            if value is _MISSING:
                continue
            for candidates in (by_value.get(value if type(value) is str else _comparable(value), ()), present):
                for candidate in candidates:
                    if best is not None and best.rank <= candidate.rank:
                        break  # the others come later still
                    if not candidate.others or _hold(candidate.others, headers):
                        best = candidate
                        break
        return self._default if best is None else best.upstream


def _hold(conditions: Sequence[tuple[str, Hashable]], headers: Mapping[str, Any]) -> bool:
    for header, wanted in conditions:
        value = headers.get(header, _MISSING)
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


class HeadersRule(PluginOptions):
    """Which messages go to an upstream."""

    match: Annotated[dict[HeaderName, Scalar], Field(min_length=1)]
    """Headers and the values that they have to have, of the same kind: "1" is not 1; null: any value at all."""
    any: bool = False
    """Whether one of them is enough."""
    upstream: UpstreamName
    """What gets these messages."""


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
        [Rule(match=rule.match, upstream=rule.upstream, any=rule.any) for rule in options.rules], options.default
    ),
    "rules about the values of headers",
)
