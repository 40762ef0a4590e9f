"""Text that is drawn again in place on a terminal.

Lives here: `Screen`.  Must not know: what is drawn.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TextIO

import click

from trabbits.cli.terminal import width_of

_UP = "\x1b[{}F"
_CLEAR_LINE = "\x1b[K"
_CLEAR_REST = "\x1b[J"


class Screen:
    """Writes lines to `stream`; where that is a terminal, `draw` replaces what it drew before.

    After a write that failed because nobody reads any more, nothing is written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        dumb = os.environ.get("TERM", "dumb") == "dumb"
        #: Whether lines can be drawn again in place.
        self.live = stream.isatty() and not dumb
        self._styled = self.live and not os.environ.get("NO_COLOR")
        #: The widths of the lines that were drawn.
        self._drawn: list[int] = []
        self._broken = False

    def write(self, lines: Iterable[str]) -> None:
        """Write lines that stay.  Raises OSError when nobody reads them."""
        self._drawn = []
        self._put("".join(f"{self._dressed(line)}\n" for line in lines))

    def draw(self, lines: Sequence[str]) -> None:
        """Write lines that the next call replaces; what does not fit the terminal's height is left out."""
        size = shutil.get_terminal_size()
        # The terminal may have become narrower: what was drawn takes more of its rows now.
        above = sum(_rows(drawn, size.columns) for drawn in self._drawn)
        text = _UP.format(above) if above else ""
        # The cursor stands below the last line.
        room = size.lines - 1
        self._drawn = []
        for line in lines:
            width = width_of(click.unstyle(line))
            room -= _rows(width, size.columns)
            if room < 0:
                break
            self._drawn.append(width)
            text += f"{self._dressed(line)}{_CLEAR_LINE}\n"
        self._put(text + _CLEAR_REST)

    def _dressed(self, line: str) -> str:
        return line if self._styled else click.unstyle(line)

    def _put(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._broken = True
            self._discard_rest()
            raise

    def _discard_rest(self) -> None:
        """What the stream holds goes nowhere: at its end Python would try again, complain, and exit with 120."""
        with suppress(OSError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), self._stream.fileno())


def _rows(width: int, columns: int) -> int:
    """How many rows of a terminal a line takes."""
    return max(1, -(-width // columns))
