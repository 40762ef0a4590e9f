"""The table of clients.

Lives here: `ClientsView`, a window over the server's listing.  Must not know: how rows are drawn (``columns.py``).

However many clients there are, only the rows around the screen are asked for: the screen's height before and after it.
The cursor stays with its client when the rows move.  Only on the very first row it stays there: who looks at the top of
a list wants to see its top.
"""

from __future__ import annotations

import urwid

from trabbits.console.columns import COLUMNS, DEFAULT_ORDER, Order, client_line, title_line
from trabbits.console.entries import Client, Page
from trabbits.console.lines import Lines
from trabbits.console.text import Line, clean, draw, fit, grouped
from trabbits.console.view import Desk, Prompt, View

#: Characters of a filter.
LONGEST_FILTER = 200


class ClientsView(View):
    """Sorted by any column, filtered by the server."""

    hints = draw("? help  ⏎ detail  p probe  K shut down  / filter  1-8 sort  l log  u upstreams")

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.order: Order = DEFAULT_ORDER
        self.filter = ""
        self._lines = Lines(self._line, has_cursor=True, empty=self._why_empty, on_moved=self._moved)
        self._page = Page(0, (), 0)
        self._is_loaded = False
        #: The client under the cursor, by its id: None while its row is not there yet.
        self._selected: str | None = None

    @property
    def widget(self) -> urwid.Widget:
        return self._lines

    @property
    def target(self) -> Client | None:
        return self._row(self._lines.cursor)

    def resized(self, height: int) -> None:
        if height != self._lines.height:
            self._lines.resize(height)
            if not self._has_rows_of_the_screen():
                self.refresh()

    def heading(self, width: int) -> Line:
        return title_line(self.order, width)

    def status(self) -> Line:
        lines = self._lines
        if lines.count:
            last = min(lines.count, lines.top + lines.height)
            text = f" {grouped(lines.top + 1)}-{grouped(last)} of {grouped(lines.count)}"
        else:
            text = " no clients" if self._is_loaded else " asking ..."
        text += f", by {COLUMNS[self.order.column].title} {self.order.arrow}"
        if self.filter:
            text += f', with "{clean(self.filter)}": Esc shows all'
        return [("status", text)]

    def press(self, key: str) -> bool:
        if self._lines.press(key):
            return True
        if len(key) == 1 and "1" <= key <= str(len(COLUMNS)):
            self._sort(self.order.by(int(key) - 1))
        elif key in ("<", ">"):
            step = 1 if key == ">" else -1
            self._sort(self.order.by((self.order.column + step) % len(COLUMNS)))
        elif key == "/":
            self._ask_for_filter(self.filter)
        elif key == "esc" and self.filter:
            self._set_filter("")
        else:
            return False
        return True

    def refresh(self) -> None:
        """Ask for the rows around the screen."""
        offset, limit = self._wanted()
        order, text = self.order, self.filter

        def arrived(page: Page) -> None:
            self.desk.answered()
            if (order, text) == (self.order, self.filter):
                self._show(page)

        self.desk.background.ask(
            "clients",
            lambda: self.desk.source.clients(offset, limit, order.parameter, text),
            arrived,
            self.desk.unanswered,
        )

    def _wanted(self) -> tuple[int, int]:
        height = max(20, self._lines.height)
        return max(0, self._lines.top - height), 3 * height

    def _show(self, page: Page) -> None:
        lines = self._lines
        self._page, lines.count, self._is_loaded = page, page.total, True
        if lines.cursor and self._selected is not None:
            for index, client in enumerate(page.rows, page.offset):
                if client.id == self._selected:
                    lines.top += index - lines.cursor
                    lines.cursor = index
                    break
        lines.settle()
        lines.changed()
        self._note_selected()
        if not self._has_rows_of_the_screen() and self._wanted()[0] != page.offset:
            self.refresh()  # the list got shorter, or the cursor went on meanwhile

    def _moved(self) -> None:
        self._note_selected()
        if not self._has_rows_of_the_screen():
            self.refresh()

    def _note_selected(self) -> None:
        client = self._row(self._lines.cursor)
        self._selected = client.id if client else None

    def _has_rows_of_the_screen(self) -> bool:
        lines = self._lines
        last = min(lines.count, lines.top + lines.height) - 1
        return lines.count == 0 or (self._row(lines.top) is not None and self._row(last) is not None)

    def _row(self, index: int) -> Client | None:
        place = index - self._page.offset
        return self._page.rows[place] if 0 <= place < len(self._page.rows) else None

    def _line(self, index: int, width: int) -> Line:
        client = self._row(index)
        is_marked = index == self._lines.cursor
        if client is None:
            return [("dim", fit((draw("▸") if is_marked else " ") + draw("…"), width))]
        return client_line(client, self.desk.now(), width, is_marked=is_marked)

    def _why_empty(self) -> str:
        if not self._is_loaded:
            return "Asking the server ..."
        if self.filter:
            return f'No client has "{clean(self.filter)}" in its id, user, virtual host, address or banner.'
        return "No clients are connected."

    def _sort(self, order: Order) -> None:
        self.order = order
        self._start_over()

    def _ask_for_filter(self, before: str) -> None:
        self.desk.prompt(
            Prompt(
                caption="/",
                text=before,
                done=self._set_filter,
                changed=self._set_filter,
                cancelled=lambda: self._set_filter(before),
            )
        )

    def _set_filter(self, text: str) -> None:
        if text != self.filter:
            self.filter = text[:LONGEST_FILTER]
            self._start_over()

    def _start_over(self) -> None:
        """Another list: from its top."""
        self._lines.top = self._lines.cursor = 0
        self._selected = None
        self._lines.changed()
        self.refresh()
