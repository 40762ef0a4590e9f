"""Views of events as they come: the probe of a client, and the server's log.

Lives here: `StreamView`, its two kinds, and saving them to a file.  Must not know: how events travel
(``background.py``).
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import localtime, strftime

import urwid

from trabbits.api_client import EventStream
from trabbits.console.background import Event, FeedState
from trabbits.console.entries import Client, mapping, number_or_none
from trabbits.console.lines import Lines
from trabbits.console.text import Line, clean, draw, fit, grouped, local_time, plain, plural, value_text
from trabbits.console.view import Desk, Prompt, View

#: Events that a view keeps; older ones go.
KEPT = 10_000

_BACKWARDS = {"up", "k", "page up", "home"}


class StreamView(View):
    """Events, the newest at the bottom.

    With auto-scroll on the newest is always visible.  Going back turns it off, so that the screen stands still while
    events go on coming; going to the end turns it on.
    """

    hints = draw("? help  q back  Space auto-scroll  s save  ↑↓ PgUp PgDn Home End ← → scroll")

    def __init__(self, desk: Desk, name: str, open_stream: Callable[[], EventStream]) -> None:
        super().__init__(desk)
        self._name = name
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._lost = 0
        self._is_following = True
        self._lines = Lines(self._line, empty=self._why_empty)
        self._feed = desk.background.feed(open_stream)

    @property
    def widget(self) -> urwid.Widget:
        return self._lines

    def resized(self, height: int) -> None:
        self._lines.resize(height)
        if self._is_following:
            self._lines.go_to_end()

    def status(self) -> Line:
        state, trouble = self._feed.state, clean(self._feed.trouble)
        texts = {
            FeedState.OPENING: ("status", "opening"),
            FeedState.LIVE: ("good", "live"),
            FeedState.LOST: ("error", f"interrupted, trying again: {trouble}"),
            FeedState.ENDED: ("leaving", "ended"),
            FeedState.REFUSED: ("error", trouble),
        }
        scrolling = "on" if self._is_following else "off"
        line: Line = [("status", f" {plural(len(self._events), 'event')}, auto-scroll {scrolling}, "), texts[state]]
        if self._lost:
            line.append(("leaving", f", {grouped(self._lost)} missed"))
        return line

    def press(self, key: str) -> bool:
        if key == " ":
            self._follow(not self._is_following)
        elif key == "end":
            self._follow(True)
        elif key == "s":
            self._ask_where_to_save()
        elif self._lines.press(key):
            if key in _BACKWARDS:
                self._is_following = False
        else:
            return False
        return True

    def arrived(self) -> None:
        """Take what has come.  Called whenever something was delivered."""
        events, lost = self._feed.take()
        if not events and not lost:
            return
        dropped = (event.get("count") for event in events if event.get("type") == "dropped")
        self._lost += lost + sum(number_or_none(number) or 0 for number in dropped)
        gone = max(0, len(self._events) + len(events) - KEPT)
        self._events.extend(events)
        self._lines.count = len(self._events)
        if self._is_following:
            self._lines.go_to_end()
        else:
            self._lines.top = max(0, self._lines.top - gone)
        self._lines.changed()

    def close(self) -> None:
        self._feed.close()

    def line_of(self, event: Event) -> Line:
        """An event on one line."""
        raise NotImplementedError

    def _line(self, index: int, width: int) -> Line:
        return self.line_of(self._events[index])

    def _follow(self, is_following: bool) -> None:
        self._is_following = is_following
        if is_following:
            self._lines.go_to_end()
        self._lines.changed()

    def _why_empty(self) -> str:
        return "Nothing yet." if self._feed.state is FeedState.LIVE else ""

    def _ask_where_to_save(self) -> None:
        name = f"{self._name}-{strftime('%Y%m%d-%H%M%S', localtime(self.desk.now()))}.log"
        self.desk.prompt(Prompt("Save to: ", name, done=self._save))

    def _save(self, name: str) -> None:
        if not name.strip():
            return
        path = Path(os.path.expanduser(name.strip()))
        events = list(self._events)

        def write() -> int:
            # Never over something that is there; routing keys and arguments are for this user's eyes only.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                for event in events:
                    as_json = path.suffix in (".json", ".jsonl")
                    file.write((json.dumps(event) if as_json else plain(self.line_of(event)).strip()) + "\n")
            return len(events)

        def failed(error: Exception) -> None:
            exists = isinstance(error, FileExistsError)
            why = "it is there already" if exists else getattr(error, "strerror", None) or str(error)
            self.desk.complain(f"Not saved to {clean(path)}: {why}")

        self.desk.background.ask(
            "save", write, lambda number: self.desk.say(f"Saved {plural(number, 'event')} to {clean(path)}"), failed
        )


class ProbeView(StreamView):
    """The methods that pass between a client, trabbits and its upstreams."""

    def __init__(self, desk: Desk, client: Client) -> None:
        safe = "".join(sign for sign in client.id if sign.isalnum() or sign in "-_")
        super().__init__(desk, f"probe-{safe}", lambda: desk.source.probe(client.id))
        self._client = client

    @property
    def target(self) -> Client:
        return self._client

    def heading(self, width: int) -> Line:
        client = self._client
        whom = f"{clean(client.id)}: {clean(client.user)} at {clean(client.virtual_host)} from {clean(client.address)}"
        return [("heading", fit(f" Probe of {whom}", width))]

    def line_of(self, event: Event) -> Line:
        kind = event.get("type", "method")
        if kind == "proxy_ended":
            return [("leaving", " The client has left.")]
        if kind == "dropped":
            return [("leaving", f" {value_text(event.get('count'))} events were too many for this connection.")]
        # A bit that isn't set goes without saying.
        told = [(name, value) for name, value in mapping(event.get("arguments")).items() if value is not False]
        direction = clean(event.get("direction", ""))
        return [
            ("dim", f" {local_time(event.get('time', ''), fraction=True)} "),
            ("good" if direction.endswith(("u", "c")) else None, f"{fit(draw(direction), 3)} "),
            ("label", f"{fit(clean(event.get('upstream') or ''), 10)} {clean(event.get('channel', '')):>3} "),
            ("section", f"{clean(event.get('method', ''))} "),
            (None, " ".join(f"{clean(name)}={value_text(value)}" for name, value in told)),
        ]


_LEVELS = {"critical": "error", "error": "error", "warn": "leaving", "warning": "leaving", "debug": "dim"}
_SAID_ALREADY = {"time", "level", "id", "message", "event"}


class LogView(StreamView):
    """The server's log."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, "trabbits", desk.source.logs)

    def heading(self, width: int) -> Line:
        return [("heading", fit(f" Log of {clean(self.desk.source.place)}", width))]

    def line_of(self, event: Event) -> Line:
        if event.get("type") == "dropped":
            return [("leaving", f" {value_text(event.get('count'))} lines were too many for this connection.")]
        level = clean(event.get("level", ""))
        attribute = _LEVELS.get(level)
        message = event.get("message")
        if message is None:
            others = {name: value for name, value in event.items() if name not in _SAID_ALREADY}
            message = value_text(others)
        return [
            ("dim", f" {local_time(event.get('time', ''))} "),
            (attribute, f"{fit(level.upper(), 8)} "),
            ("label", f"{fit(clean(event.get('id') or ''), 5)} "),
            (attribute, clean(message)),
        ]
