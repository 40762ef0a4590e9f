"""What lies over a view for a moment: a question before a shutdown, and the help.

Lives here: `ShutdownDialog`, `HelpDialog`.  Must not know: the server, or what follows from an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import urwid

from trabbits.console.columns import COLUMNS, STATUS_WORDS
from trabbits.console.entries import Client
from trabbits.console.lines import Lines
from trabbits.console.text import Line, age, clean, draw

#: Characters of a reason.
LONGEST_REASON = 200
_WIDTH = 74


class Dialog(urwid.WidgetWrap[urwid.Widget]):
    """A box over the view.  `close` takes it away."""

    def __init__(self, title: str, content: urwid.Widget, rows: int, close: Callable[[], None]) -> None:
        self.close = close
        self._rows = rows
        super().__init__(urwid.LineBox(content, title=title))

    def over(self, below: urwid.Widget) -> urwid.Widget:
        """The screen with this dialog on it."""
        return urwid.Overlay(self, below, "center", _WIDTH, "middle", self._rows + 2)


class ShutdownDialog(Dialog):
    """Shows whom the shutdown hits and takes a reason.  Enter does it, Esc doesn't."""

    def __init__(self, client: Client, now: float, confirmed: Callable[[str], None], close: Callable[[], None]) -> None:
        self._confirmed = confirmed
        self._reason = ShortEdit(("label", " Reason    "), limit=LONGEST_REASON)
        connected = "-" if client.connected_at is None else f"for {age(now - client.connected_at)}"
        facts = [
            ("Client", client.id),
            ("User", f"{client.user} at virtual host {client.virtual_host}"),
            ("Address", client.address),
            ("Banner", client.banner),
            ("Connected", f"{connected}, {STATUS_WORDS.get(client.status, client.status)}"),
        ]
        rows: list[urwid.Widget] = [urwid.Text("")]
        rows += [urwid.Text([("label", f" {label:<10}"), clean(text)], wrap="ellipsis") for label, text in facts]
        rows += [urwid.Text(""), self._reason, urwid.Text("")]
        rows.append(urwid.Text(" Its connection is closed: code 320, CONNECTION_FORCED and the reason."))
        rows.append(urwid.Text([("key", " Enter"), " shut this client down   ", ("key", "Esc"), " leave it alone"]))
        pile = urwid.Pile([("pack", row) for row in rows], focus_item=self._reason)
        super().__init__("Shut down a client", urwid.Filler(pile, "top"), len(rows) + 1, close)

    def keypress(self, size: Any, key: str) -> None:
        if key == "esc":
            self.close()
        elif key == "enter":
            reason = self._reason.edit_text.strip()
            self.close()
            self._confirmed(reason)
        else:
            super().keypress(size, key)


class ShortEdit(urwid.Edit):
    """A line of text of bounded length.  Ctrl-U empties it."""

    def __init__(self, caption: Any, text: str = "", *, limit: int) -> None:
        self._limit = limit
        super().__init__(caption, text, wrap="clip")

    def keypress(self, size: Any, key: str) -> str | None:
        if key == "ctrl u":
            self.set_edit_text("")
            return None
        return super().keypress(size, key)

    def insert_text(self, text: str) -> None:
        super().insert_text(text[: max(0, self._limit - len(self.edit_text))])


_SORTS = "  ".join(f"{number} {column.title}" for number, column in enumerate(COLUMNS, 1))
_KEYS = 24
_HELP = f"""
 Everywhere
   ↑ ↓ k j PgUp PgDn    move; also Home and End
   Enter                detail of the client under the cursor
   p                    its protocol events, live
   K                    shut it down; asks first, and takes a reason
   l  u                 log of the server; upstreams
   r                    refresh now; it happens every 2 s by itself
   q Esc                back; in the table of clients q quits
   Ctrl-L Ctrl-C        draw the screen anew; quit
 Table of clients
   /                    filter by id, user, vhost, address and banner:
                        Enter keeps the filter, Esc drops it
   1 to 8               sort by a column; again: the other way around
                        {_SORTS[:44].rsplit("  ", 1)[0]}
                        {_SORTS[len(_SORTS[:44].rsplit("  ", 1)[0]) + 2 :]}
   < >                  sort by the column to the left, to the right
 Events and log
   Space                auto-scroll; going back stops it, End starts it
   ← →                  show what is too long for the screen
   s                    save what is listed (.jsonl: as JSON lines)""".splitlines()[1:]


class HelpDialog(Dialog):
    """All keys."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._lines = Lines(lambda index, width: _help_line(index))
        self._lines.count = len(_HELP)
        super().__init__("Keys (any key closes this)", self._lines, len(_HELP), close)

    def keypress(self, size: Any, key: str) -> None:
        if not self._lines.press(key):
            self.close()


def _help_line(index: int) -> Line:
    text = draw(_HELP[index])
    if not text.startswith("   "):
        return [("section", text)]
    return [("key", text[:_KEYS]), (None, text[_KEYS:])]
