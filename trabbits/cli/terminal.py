"""What commands print: tables, other people's text made harmless, JSON, errors.

Lives here: looks.  Must not know: what is shown, or where it comes from.

On a terminal there are colors (unless NO_COLOR is set) and tables that fit its width; in a pipe there is plain text in
full.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

_UNFIT = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_GAP = "  "


class Column(NamedTuple):
    """One column of a table.

    `least`: how narrow it may become where the table does not fit; 0: its values are never cut.
    `rank`: who gives way first where there is no room (1 before 2); columns without a rank stay.
    `keep_end`: cut at the start, where the end tells more.
    """

    title: str
    align_right: bool = False
    least: int = 0
    rank: int = 0
    keep_end: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int | None) -> Iterator[str]:
    """The lines of a table, the head first, no wider than `width` if that is possible; styled as for a terminal."""
    cells = [[clean(value) for value in row] for row in rows]
    shown = list(range(len(columns)))
    widths = [
        max([width_of(column.title), *(width_of(row[index]) for row in cells)]) for index, column in enumerate(columns)
    ]
    if width is not None:
        shown = _fit(columns, widths, width)
    last = shown[-1]
    for number, row in enumerate([[column.title for column in columns], *cells]):
        line = []
        for index in shown:
            text = _cut(row[index], widths[index], columns[index].keep_end)
            spaces = " " * (widths[index] - width_of(text))
            if columns[index].align_right:
                padded = spaces + text
            else:
                padded = text if index == last else text + spaces
            line.append(click.style(padded, bold=True) if number == 0 else _colored(padded))
        yield _GAP.join(line)


def _fit(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Leave out columns until the rest could fit, then narrow those; the numbers of the columns that stay."""
    shown = list(range(len(columns)))
    ranked = sorted((index for index in shown if columns[index].rank), key=lambda index: columns[index].rank)
    least = [min(widths[index], column.least or widths[index]) for index, column in enumerate(columns)]

    def excess(taken: list[int]) -> int:
        return sum(taken[index] for index in shown) + len(_GAP) * (len(shown) - 1) - width

    for index in ranked:
        if excess(least) > 0:
            shown.remove(index)
    for index in ranked:
        if index in shown:
            widths[index] = max(least[index], widths[index] - max(0, excess(widths)))
    return shown


_COLORS = {
    "active": "green",
    "healthy": "green",
    "open": "green",
    "shutting_down": "yellow",
    "suspect": "yellow",
    "blocked": "yellow",
    "isolated": "red",
}


def _colored(text: str) -> str:
    color = _COLORS.get(text.strip())
    return click.style(text, fg=color) if color else text


def clean(value: object) -> str:
    """A value on one line, with escapes in place of whatever a terminal would obey.

    A client chooses its own name and properties: they must not reach the operator's terminal as commands.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign.encode("unicode_escape").decode() if _is_unfit(sign) else sign for sign in text)


def _is_unfit(sign: str) -> bool:
    return unicodedata.category(sign) in _UNFIT


def value_text(value: object) -> str:
    """A value of a property or an argument: words as they are, quotes where they are needed, the rest as JSON."""
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" \"'=\\{}[],"):
        return clean(value)
    return to_json(value, indent=None)


def to_json(value: object, indent: int | None = 2) -> str:
    """JSON that any terminal may get: no control characters, the 8-bit ones included."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        json.dumps(sign)[1:-1].replace("\x7f", "\\u007f") if sign != "\n" and _is_unfit(sign) else sign for sign in text
    )


def age(rfc3339: object) -> str:
    """How long ago that was: 7s, 4m07s, 3h12m, 5d03h; "-" if it is no time."""
    try:
        since = datetime.fromisoformat(str(rfc3339))
        if since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        whole = max(0, int((datetime.now(UTC) - since).total_seconds()))
    except (ValueError, OverflowError):
        return "-"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02}h"
    if hours:
        return f"{hour}h{minute:02}m"
    return f"{minute}m{second:02}s" if minutes else f"{second}s"


def time_of_day(rfc3339: object) -> str:
    """The local time of day with its microseconds; what is no time stays as it is."""
    try:
        return datetime.fromisoformat(str(rfc3339)).astimezone().strftime("%H:%M:%S.%f")
    except (ValueError, OverflowError):
        return clean(rfc3339)


def diff_line(line: str) -> str:
    """A line of a unified diff in its usual color."""
    text = clean(line)
    if line.startswith(("---", "+++")):
        return click.style(text, bold=True)
    for start, color in (("@@", "cyan"), ("+", "green"), ("-", "red")):
        if line.startswith(start):
            return click.style(text, fg=color)
    return text


def echo(line: str, *, err: bool = False) -> None:
    """Print a styled line, without the style where it is not wanted."""
    off = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    click.echo(line, err=err, color=False if off else None)


def echo_all(lines: Iterable[str]) -> None:
    """Print many styled lines at once."""
    text = "\n".join(lines)
    if text:
        echo(text)


def complain(text: str, details: Iterable[str] = (), *, word: str = "error") -> None:
    """Tell on standard error what is wrong."""
    color = "red" if word == "error" else "yellow"
    echo(f"trabbits: {click.style(f'{word}:', fg=color, bold=True)} {clean(text)}", err=True)
    for detail in details:
        echo(f"  {clean(detail)}", err=True)


def width() -> int | None:
    """The columns of the terminal; None in a pipe, where nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def arrows(direction: object) -> str:
    """`c→t`, or `c>t` where the output has no such sign."""
    text = clean(direction)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return text.replace("→", ">")
    return text


def rows_of(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON array."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def fields_of(value: object) -> dict[str, Any]:
    """A JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def width_of(text: str) -> int:
    """How many columns a terminal needs for it."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _cut(text: str, width: int, keep_end: bool) -> str:
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[1:] if keep_end else text[:-1]
    return "…" + text if keep_end else text + "…"
