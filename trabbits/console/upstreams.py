"""Upstreams and their nodes, kept up to date.

Lives here: `UpstreamsView`.  Must not know: how lines are scrolled.
"""

from __future__ import annotations

from collections.abc import Iterator

import urwid

from trabbits.console.entries import Json, listing, mapping, number_or_none, text_of
from trabbits.console.lines import Lines
from trabbits.console.rates import Rates
from trabbits.console.text import Line, clean, count, draw, fit, local_time, rate, value_text
from trabbits.console.view import Desk, View


class UpstreamsView(View):
    """What the server knows about the brokers behind it."""

    hints = draw("? help  q back  r refresh  ↑↓ PgUp PgDn ← → scroll  l log")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._texts: list[Line] = []
        self._lines = Lines(lambda index, width: self._texts[index], empty=lambda: "Asking the server ...")
        self._rates: dict[str, Rates] = {}

    @property
    def widget(self) -> urwid.Widget:
        return self._lines

    def resized(self, height: int) -> None:
        self._lines.resize(height)

    def heading(self, width: int) -> Line:
        return [("heading", fit(" Upstreams", width))]

    def press(self, key: str) -> bool:
        return self._lines.press(key)

    def refresh(self) -> None:
        self.desk.background.ask("upstreams", self.desk.source.upstreams, self._arrived, self.desk.unanswered)

    def _arrived(self, upstreams: list[Json]) -> None:
        self.desk.answered()
        names = {text_of(upstream.get("name")) for upstream in upstreams}
        self._rates = {name: self._rates.get(name, Rates()) for name in names}
        self._texts = [line for upstream in upstreams for line in self._describe(upstream)]
        if not upstreams:
            self._texts = [[("dim", " No upstreams are configured.")]]
        self._lines.count = len(self._texts)
        self._lines.changed()

    def _describe(self, upstream: Json) -> Iterator[Line]:
        name = text_of(upstream.get("name"))
        rates = self._rates[name]
        rates.note(self.desk.now(), {key: upstream.get(key) for key in ("publishes", "deliveries")})
        importance = "required" if upstream.get("required", True) else "optional"
        yield [("section", f" {clean(name)}"), ("dim", f"  {importance}")]
        yield [
            ("label", "   publishes "),
            (None, f"{_number(upstream, 'publishes')} ({rate(rates.of('publishes'))}/s)"),
            ("label", "  deliveries "),
            (None, f"{_number(upstream, 'deliveries')} ({rate(rates.of('deliveries'))}/s)"),
            ("label", "  unacknowledged "),
            (None, _number(upstream, "unacknowledged")),
            ("label", "  unconfirmed "),
            (None, _number(upstream, "unconfirmed")),
        ]
        yield [("label", f"   {fit('node', 26)}{fit('health', 10)}{'links':>7}{'failures':>10}  last check")]
        for node in map(mapping, listing(upstream.get("nodes"))):
            yield self._node(node)
            if node.get("last_error"):
                yield [("label", "     last error "), ("leaving", value_text(node["last_error"]))]
        yield []

    @staticmethod
    def _node(node: Json) -> Line:
        health = text_of(node.get("health")) or "-"
        attribute = "good" if health == "healthy" else "error"
        if node.get("suspect") and health == "healthy":
            health, attribute = "suspect", "leaving"
        checked = node.get("last_check")
        return [
            (None, "   " + fit(clean(_name_of(node)), 25) + " "),
            (attribute, fit(clean(health), 9)),
            (None, f" {_number(node, 'links'):>7}{_number(node, 'failures'):>10}  "),
            ("dim", local_time(checked) if checked else "-"),
        ]


def _name_of(node: Json) -> str:
    for name in ("node", "address", "name"):
        if node.get(name):
            return value_text(node[name])
    return "?"


def _number(entry: Json, name: str) -> str:
    number = number_or_none(entry.get(name))
    return "-" if number is None else count(number)
