"""The columns of the table of clients.

Lives here: what stands in each column, how the listing is sorted by it, and how wide it is.  Must not know: which rows
are loaded, or the cursor.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from trabbits.console.entries import Client
from trabbits.console.text import Line, age, clean, count, draw, fit, width_of


@define(frozen=True)
class Column:
    """A column.  `width` is its least, `more` how far it grows on a wider screen, in this order of steps."""

    title: str
    #: The field that the server sorts by.
    field: str
    cell: Callable[[Client, float], str]
    width: int
    more: tuple[int, ...] = ()
    is_number: bool = False
    #: Which end of a text that is too long tells more.
    keep: str = "start"
    #: A longer age is an earlier time.
    is_reversed: bool = False


STATUS_WORDS = {"active": "active", "shutting_down": "leaving"}


def _age(client: Client, now: float) -> str:
    return "-" if client.connected_at is None else age(now - client.connected_at)


COLUMNS = (
    Column("Id", "id", lambda client, now: clean(client.id), 13, (22,)),
    Column("User", "user", lambda client, now: clean(client.user), 9, (16, 32)),
    Column("Vhost", "virtual_host", lambda client, now: clean(client.virtual_host), 7, (16, 32)),
    Column("Address", "client_address", lambda client, now: clean(client.address), 17, (21, 47), keep="end"),
    Column("Status", "status", lambda client, now: STATUS_WORDS.get(client.status, clean(client.status)), 7),
    Column("Age", "connected_at", _age, 6, is_number=True, is_reversed=True),
    Column("Methods", "total_methods", lambda client, now: count(client.methods), 7, is_number=True),
    Column("Frames", "total_frames", lambda client, now: count(client.frames), 6, is_number=True),
)
#: Before each column stands one sign: the cursor's mark, or the arrow of the one that is sorted by.
LEAST_WIDTH = sum(column.width + 1 for column in COLUMNS)


@define(frozen=True)
class Order:
    """The table's order: by this column, the largest first or last."""

    column: int
    descending: bool

    @property
    def parameter(self) -> str:
        """For the server."""
        column = COLUMNS[self.column]
        return ("-" if self.descending != column.is_reversed else "") + column.field

    @property
    def arrow(self) -> str:
        """For the operator."""
        return draw("▼" if self.descending else "▲")

    def by(self, column: int) -> Order:
        """By this column; the other way around if it is by this one already."""
        if column == self.column:
            return Order(column, not self.descending)
        return Order(column, COLUMNS[column].is_number)


#: Who is longest there first: the table then stands still while clients come and go.
DEFAULT_ORDER = Order(5, descending=True)


def widths_for(width: int) -> list[int]:
    """How wide each column is on a screen of this width."""
    widths = [column.width for column in COLUMNS]
    spare = width - LEAST_WIDTH
    for step in range(2):
        for place in (3, 0, 1, 2):
            more = COLUMNS[place].more
            wanted = max(0, more[min(step, len(more) - 1)] - widths[place])
            given = max(0, min(spare, wanted))
            widths[place] += given
            spare -= given
    return widths


def title_line(order: Order, width: int) -> Line:
    """The titles, the one that is sorted by with an arrow."""
    line: Line = []
    for index, (column, wide) in enumerate(zip(COLUMNS, widths_for(width), strict=True)):
        attribute = "sorted" if index == order.column else "heading"
        if index == order.column and column.is_number:
            title = fit(order.arrow + column.title, wide + 1, align="right")
        elif index == order.column:
            title = " " + fit(column.title + order.arrow, wide)
        else:
            title = " " + fit(column.title, wide, align="right" if column.is_number else "left")
        line.append((attribute, title))
    return line


def client_line(client: Client, now: float, width: int, *, is_marked: bool) -> Line:
    """A row."""
    cells = [
        fit(column.cell(client, now), wide, align="right" if column.is_number else "left", keep=column.keep)
        for column, wide in zip(COLUMNS, widths_for(width), strict=True)
    ]
    text = (draw("▸") if is_marked else " ") + " ".join(cells)
    return [("leaving" if client.status == "shutting_down" else None, text + " " * (width - width_of(text)))]
