"""Numbers, times and other people's text, made fit for a place on the screen.

Lives here: pure functions from values to short text, and the signs that are drawn.  Must not know: widgets, or where a
value comes from.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime

import urwid

#: A line is a list of (attribute, text): what it says and in which of the palette's attributes.
Line = list[tuple[str | None, str]]

_ASCII_SIGNS = {"…": ".", "▲": "^", "▼": "v", "▸": ">", "→": ">", "·": "-", "█": "#", "↑": "^", "↓": "v", "⏎": "Enter"}


def draw(text: str) -> str:
    """Our own signs as they are, or their nearest relatives on a terminal without Unicode."""
    if urwid.supports_unicode():
        return text
    for sign, stand_in in _ASCII_SIGNS.items():
        text = text.replace(sign, stand_in)
    return text


def clean(value: object) -> str:
    """Text from elsewhere on one line, without anything that a terminal would obey.

    A client chooses its name and properties: control characters (the 8-bit ones too), line ends, and marks that turn
    the direction of writing must not reach the operator's terminal.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unfit(sign) else sign for sign in text)


def _is_unfit(sign: str) -> bool:
    return unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def width_of(text: str) -> int:
    """How many columns the text takes: East Asian characters take two, combining ones none."""
    return len(text) if text.isascii() else urwid.calc_width(text, 0, len(text))


def fit(text: str, width: int, *, align: str = "left", keep: str = "start") -> str:
    """Exactly `width` columns: padded, or cut with an ellipsis where less matters (`keep` names the end that stays)."""
    if width <= 0:
        return ""
    taken = width_of(text)
    if taken > width:
        ellipsis = draw("…")
        if keep == "start":
            text = _first(text, width - 1) + ellipsis
        else:
            text = ellipsis + _last(text, width - 1)
        taken = width_of(text)
    spaces = " " * (width - taken)
    return spaces + text if align == "right" else text + spaces


def _first(text: str, width: int) -> str:
    return text[: urwid.calc_text_pos(text, 0, len(text), width)[0]]


def _last(text: str, width: int) -> str:
    start = max(0, len(text) - width)
    while width_of(text[start:]) > width:
        start += 1
    return text[start:]


def cut(line: Line, left: int, width: int) -> Line:
    """The columns of a line from `left` on, at most `width` of them."""
    result: Line = []
    for attribute, text in line:
        if width <= 0:
            break
        taken = width_of(text)
        if left and taken <= left:
            left -= taken
            continue
        start = urwid.calc_text_pos(text, 0, len(text), left)[0] if left else 0
        left = 0
        piece = _first(text[start:], width)
        result.append((attribute, piece))
        width -= width_of(piece)
        if len(piece) < len(text) - start:
            break
    return result


def plain(line: Line) -> str:
    """A line without its attributes."""
    return "".join(text for _, text in line)


def count(number: float) -> str:
    """A number in at most six columns: exact below a million."""
    number = max(0, int(number))
    if number < 1_000_000:
        return str(number)
    size, units = number / 1e6, "MGTPE"
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    decimals = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:.{decimals}f}{units[0]}"


def grouped(number: int) -> str:
    """A number to be read in full: 1 234 567."""
    return f"{number:,}".replace(",", " ")


def rate(per_second: float | None) -> str:
    """Events per second in short; a dash as long as it isn't known."""
    if per_second is None:
        return "-"
    if 0 < per_second < 9.95:
        return f"{per_second:.1f}"
    if per_second < 9_999.5:
        return f"{per_second:.0f}"
    if per_second < 999_500:
        return f"{per_second / 1000:.3g}k"
    return count(per_second)


def age(seconds: float) -> str:
    """How long, in at most six columns: 7s, 4m07s, 3h12m, 5d03h, 400d."""
    whole = max(0, int(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if not minutes:
        return f"{second}s"
    if not hours:
        return f"{minute}m{second:02}s"
    if not days:
        return f"{hour}h{minute:02}m"
    if days < 100:
        return f"{days}d{hour:02}h"
    return f"{days}d"


def plural(number: int, noun: str) -> str:
    """`1 client`, `2 clients`."""
    return f"{grouped(number)} {noun}" + ("" if number == 1 else "s")


def epoch(rfc3339: object) -> float | None:
    """The time of an RFC 3339 text; None when it isn't one."""
    try:
        return datetime.fromisoformat(str(rfc3339)).timestamp()
    except ValueError:
        return None


def local_time(rfc3339: object, *, date: bool = False, fraction: bool = False) -> str:
    """The time in this terminal's time zone; whatever isn't RFC 3339 stays as it is."""
    try:
        moment = datetime.fromisoformat(str(rfc3339)).astimezone()
    except (ValueError, OverflowError):
        return clean(rfc3339)
    fraction_text = f".{moment.microsecond // 1000:03}" if fraction else ""
    return moment.strftime(("%Y-%m-%d " if date else "") + "%H:%M:%S") + fraction_text


def value_text(value: object) -> str:
    """A value of a property or an argument, in short: `yes`, `text`, `{a: 1}`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{clean(key)}: {value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    return clean(value)
