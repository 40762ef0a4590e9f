"""Routing by the name of the exchange, with the patterns that `key_patterns` has for routing keys.

Lives here: `Exchanges` and the declaration.  Must not know: what patterns mean (``key_patterns.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Annotated

from pydantic import Field
from zope.interface import implementer

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.declaring import Plugin, PluginOptions, UpstreamName
from trabbits.plugins.key_patterns import KeyPatterns
from trabbits.plugins.option_types import ExchangePattern


@implementer(IRoutingStrategy)
class Exchanges:
    """The first rule (a pattern and an upstream) that matches the exchange's name decides."""

    def __init__(self, rules: Iterable[tuple[str, str]], default: str | None = None) -> None:
        # Neighbors with the same upstream are one question.
        grouped = groupby(rules, key=lambda rule: rule[1])
        self._patterns = KeyPatterns((upstream, [pattern for pattern, _ in group]) for upstream, group in grouped)
        self._default = default

    def route(self, exchange: str, routing_key: str) -> str | None:
        upstream = self._patterns.route("", exchange)
        return self._default if upstream is None else upstream


class ExchangeRule(PluginOptions):
    """Which exchanges belong to an upstream."""

    exchange: ExchangePattern
    """A pattern for names: * is one word, # zero or more words, % zero or more characters of a word; words are
    separated by dots.  The empty pattern is the default exchange."""
    upstream: UpstreamName
    """What gets messages that are published there."""


class ExchangeOptions(PluginOptions):
    """Rules, and what happens to messages for all other exchanges."""

    rules: Annotated[list[ExchangeRule], Field(min_length=1)]
    """The first rule that matches decides."""
    default: UpstreamName | None = None
    """What gets messages for which no rule matches; null: no opinion, so the first upstream."""


exchange = Plugin(
    "exchange",
    IRoutingStrategy,
    ExchangeOptions,
    lambda options, _: Exchanges(((rule.exchange, rule.upstream) for rule in options.rules), options.default),
    "rules about the exchange's name",
)
