"""Everything about one client, kept up to date.

Lives here: `DetailView` and the lines that it shows.  Must not know: how lines are scrolled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import urwid

from trabbits.api_client import ApiError
from trabbits.console.columns import STATUS_WORDS
from trabbits.console.entries import Client, Json, client_of, listing, mapping, number_or_none, text_of
from trabbits.console.lines import Lines
from trabbits.console.rates import Rates
from trabbits.console.text import Line, age, clean, draw, fit, grouped, local_time, rate, value_text
from trabbits.console.view import Desk, View

#: Columns of the bar of a method with all calls.
_BAR = 20
_LABEL = 12


class DetailView(View):
    """The client as it was in the list, then as the server describes it."""

    hints = draw("? help  q back  p probe  K shut down  ↑↓ PgUp PgDn scroll  l log  u upstreams")

    def __init__(self, desk: Desk, client: Client) -> None:
        super().__init__(desk)
        self._client = client
        self._texts: list[Line] = []
        self._lines = Lines(lambda index, width: self._texts[index], empty=lambda: "Asking the server ...")
        self._rates = Rates()
        self._has_left = False

    @property
    def widget(self) -> urwid.Widget:
        return self._lines

    @property
    def target(self) -> Client:
        return self._client

    def resized(self, height: int) -> None:
        self._lines.resize(height)

    def heading(self, width: int) -> Line:
        return [("heading", fit(f" {clean(self._client.id)}", width))]

    def status(self) -> Line:
        if self._has_left:
            return [("error", " This client has left; these are its last numbers. p shows what its probe retained.")]
        lines = self._lines
        if lines.count > lines.height:
            last = min(lines.count, lines.top + lines.height)
            return [("status", f" line {lines.top + 1}-{last} of {lines.count}")]
        return []

    def press(self, key: str) -> bool:
        return self._lines.press(key)

    def refresh(self) -> None:
        self.desk.background.ask(
            "detail", lambda: self.desk.source.client(self._client.id), self._arrived, self._failed
        )

    def _arrived(self, detail: Json) -> None:
        self.desk.answered()
        if text_of(detail.get("id")) != self._client.id:
            return  # the answer for a client that was shown before
        self._has_left = False
        self._client = client_of({**mapping(detail.get("stats")), **detail})
        stats = mapping(detail.get("stats"))
        self._rates.note(self.desk.now(), {"frames": stats.get("total_frames"), **_methods(stats)})
        self._texts = list(self._describe(detail, stats))
        self._lines.count = len(self._texts)
        self._lines.changed()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ApiError) and error.status == 404:
            self.desk.answered()
            self._has_left = True
            if not self._texts:
                self._texts = [[("dim", " The server knows no more about it.")]]
                self._lines.count = 1
            self._lines.changed()
        else:
            self.desk.unanswered(error)

    def _describe(self, detail: Json, stats: Json) -> Iterator[Line]:
        client = self._client
        status = STATUS_WORDS.get(client.status, clean(client.status))
        if client.shutdown_reason:
            status += f" ({clean(client.shutdown_reason)})"
        yield _pair("User", f"{clean(client.user)} at virtual host {clean(client.virtual_host)}")
        yield _pair("Address", clean(client.address))
        yield _pair("Banner", clean(client.banner))
        yield _pair("Status", status, "leaving" if client.status == "shutting_down" else "good")
        if client.connected_at is not None:
            connected = local_time(detail.get("connected_at"), date=True)
            yield _pair("Connected", f"at {connected}, for {age(self.desk.now() - client.connected_at)}")
        yield _pair(
            "Open", f"{_how_many(detail.get('channels'), 'channel')}, {_how_many(detail.get('consumers'), 'consumer')}"
        )
        yield _pair("Config hash", clean(detail.get("config_hash") or "-"))
        yield _pair("Frames", self._frames(stats))
        yield []
        yield from _links(listing(detail.get("links")))
        yield from self._breakdown(stats)
        properties = mapping(detail.get("client_properties"))
        yield _section("Capabilities")
        yield from _table(mapping(properties.get("capabilities")))
        yield []
        yield _section("Client properties")
        yield from _table({name: value for name, value in properties.items() if name != "capabilities"})

    def _frames(self, stats: Json) -> str:
        received, sent, total = (
            grouped(number_or_none(stats.get(name)) or 0) for name in ("received_frames", "sent_frames", "total_frames")
        )
        return f"{received} received, {sent} sent, {total} in all, {rate(self._rates.of('frames'))}/s"

    def _breakdown(self, stats: Json) -> Iterator[Line]:
        methods = _methods(stats)
        total = sum(methods.values())
        yield _section(f"Methods ({grouped(total)})")
        for name, number in sorted(methods.items(), key=lambda item: (-item[1], item[0])):
            share = number / total if total else 0
            bar = draw("█") * round(share * _BAR)
            yield [
                (None, f"   {fit(clean(name), 24)}{grouped(number):>14}{share:8.1%} "),
                ("good", bar.ljust(_BAR)),
                ("dim", f"{rate(self._rates.of(name)):>7}/s"),
            ]
        if not methods:
            yield [("dim", "   none yet")]
        yield []


def _methods(stats: Json) -> dict[str, int]:
    counted = {name: number_or_none(value) for name, value in mapping(stats.get("methods")).items()}
    return {name: number for name, number in counted.items() if number}


def _pair(label: str, text: str, attribute: str | None = None) -> Line:
    return [("label", " " + fit(label, _LABEL)), (attribute, text)]


def _section(title: str) -> Line:
    return [("section", f" {title}")]


def _how_many(value: object, noun: str) -> str:
    """The API may give a number or name them all."""
    number = len(value) if isinstance(value, list) else number_or_none(value)
    if number is None:
        return f"? {noun}s"
    return f"{grouped(number)} {noun}" + ("" if number == 1 else "s")


def _links(links: list[Any]) -> Iterator[Line]:
    yield [
        ("section", f" {fit('Links', 15)}"),
        ("label", f"{fit('node', 28)}{'unacknowledged':>15}{'unconfirmed':>13}"),
    ]
    for link in map(mapping, links):
        unacknowledged, unconfirmed = link.get("unacknowledged"), link.get("unconfirmed")
        yield [
            (None, f"   {fit(clean(link.get('upstream', '')), 12)} {fit(clean(link.get('node', '')), 28)}"),
            (None, f"{value_text(unacknowledged):>14}{value_text(unconfirmed):>13}"),
            ("leaving", "  blocked" if link.get("blocked") else ""),
        ]
    if not links:
        yield [("dim", "   none open")]
    yield []


def _table(properties: Mapping[str, Any]) -> Iterator[Line]:
    for name, value in sorted(properties.items()):
        yield [("label", f"   {fit(clean(name), 28)} "), (None, value_text(value))]
    if not properties:
        yield [("dim", "   none")]
