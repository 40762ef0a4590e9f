"""A widget that shows a part of many lines.

Lives here: `Lines`, which draws only what is visible, so it costs the same for ten lines and for a million, and moves
over them with the usual keys.  Must not know: what the lines say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import urwid

from trabbits.console.text import Line, cut

#: Columns that one press of ← or → moves by.
SIDE_STEP = 16

_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1}


class Lines(urwid.Widget):
    """`line(index, width)` gives a line for an index below `count`.

    With a cursor one line is marked and keys move the mark; otherwise they move the view.  `on_moved` is called after a
    key that was meant for us.
    """

    _sizing = frozenset([urwid.BOX])
    _selectable = True
    no_cache = ("render",)

    def __init__(
        self,
        line: Callable[[int, int], Line],
        *,
        has_cursor: bool = False,
        empty: Callable[[], str] = lambda: "",
        on_moved: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._line = line
        self._empty = empty
        self._on_moved = on_moved
        self._has_cursor = has_cursor
        self.count = 0
        self.top = 0
        self.cursor = 0
        #: The first column that is shown, for lines that are longer than the screen is wide.
        self.left = 0
        #: As of the last time it was drawn.
        self.height = 1

    @property
    def is_at_end(self) -> bool:
        """Whether the last line is visible."""
        return self.top + self.height >= self.count

    def changed(self) -> None:
        """The lines are others: draw them again."""
        self._invalidate()

    def go_to_end(self) -> None:
        """Show the last line."""
        self.top = self.cursor = self.count
        self.settle()

    def keypress(self, size: Any, key: str) -> str | None:
        return None if self.press(key) else key

    def press(self, key: str) -> bool:
        """Move, if this key moves."""
        page = max(1, self.height)
        steps = {**_STEPS, "page up": -page, "page down": page, "home": -self.count, "end": self.count}
        if key in steps:
            if self._has_cursor:
                self._move_cursor(steps[key], page)
            else:
                self.top += steps[key]
        elif key in ("left", "right") and not self._has_cursor:
            self.left = max(0, self.left + (SIDE_STEP if key == "right" else -SIDE_STEP))
        else:
            return False
        self.settle()
        self._on_moved()
        self._invalidate()
        return True

    def _move_cursor(self, step: int, page: int) -> None:
        self.cursor += step
        if abs(step) == page:
            self.top += step  # a page turns as a whole

    def resize(self, height: int) -> None:
        """So high it will be drawn."""
        self.height = max(1, height)
        self.settle()

    def settle(self) -> None:
        """Stay within the lines, and keep the cursor on the screen."""
        last = max(0, self.count - 1)
        self.cursor = min(max(0, self.cursor), last)
        if self._has_cursor:
            self.top = min(max(self.top, self.cursor - self.height + 1), self.cursor)
        self.top = min(max(0, self.top), max(0, self.count - self.height))

    def render(self, size: Any, focus: bool = False) -> urwid.Canvas:
        width, height = size
        self.resize(height)
        rows: list[tuple[urwid.Canvas, Any, bool]] = []
        for index in range(self.top, min(self.count, self.top + self.height)):
            line = cut(self._line(index, width), self.left, width)
            if self._has_cursor and index == self.cursor:
                line = [("selected", text) for _, text in line]
            rows.append((_canvas(line, width), index, False))
        if not self.count:
            rows.append((_canvas([("dim", " " + self._empty())], width), 0, False))
        missing = self.height - len(rows)
        if missing > 0:
            rows.append((urwid.SolidCanvas(" ", width, missing), None, False))
        return urwid.CanvasCombine(rows)


def _canvas(line: Line, width: int) -> urwid.Canvas:
    return urwid.Text([piece for piece in line if piece[1]] or "", wrap="clip").render((width,))


def one_line(line: Line) -> urwid.Widget:
    """A widget of one line, cut where the screen ends."""
    return urwid.Text([piece for piece in line if piece[1]] or "", wrap="clip")
