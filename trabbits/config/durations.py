"""Lengths of time in a configuration: a number of seconds, or text as Go writes it (``1m30s``).

Lives here: parsing, printing and the annotated types for pydantic.  Must not know: which keys use them.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from trabbits.config.errors import expected

#: Also what durations are known by in a JSON Schema.
EXAMPLES = ["500ms", "5s", "1m30s", 5]

_UNITS = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
}
_DURATION_PART = re.compile(r"(\d{1,18}(?:\.\d{0,40})?|\.\d{1,40})(h|ms|m|s|us|µs|ns)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds in a duration as Go writes it: ``500ms``, ``5s``, ``1m30s``, ``1.5h``.  ValueError otherwise."""
    if text == "0":
        return 0.0
    position, total = 0, Decimal(0)
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            raise ValueError(f"not a duration: {text!r}")
        total += Decimal(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not text:
        raise ValueError("an empty duration")
    return float(total)


def format_duration(seconds: float) -> str:
    """The inverse of `parse_duration`: ``90.0`` as ``1m30s``."""
    if 0 < seconds < 1 and (seconds * 1000).is_integer():
        return f"{int(seconds * 1000)}ms"
    minutes, rest = divmod(Decimal(repr(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    text = (f"{hours:f}h" if hours else "") + (f"{minutes:f}m" if minutes else "")
    shown = f"{rest:f}"
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return text + (f"{shown}s" if rest or not text else "")


def _seconds(value: Any) -> Any:
    what = 'a duration such as "500ms", "5s", "1m30s" or "2h", or a number of seconds'
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError:
            raise expected(what) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise expected(what)
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise expected(what)
    return seconds


def _whole_seconds(value: Any) -> Any:
    seconds = _seconds(value)
    if not seconds.is_integer():
        raise expected("a whole number of seconds")
    return int(seconds)


def _schema(least: float, most: float, number: str = "number") -> WithJsonSchema:
    """What a JSON Schema says of a duration; the bounds hold for texts, too, but a pattern cannot count."""
    text = {"type": "string", "pattern": r"^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns))+)$"}
    return WithJsonSchema({"anyOf": [text, {"type": number, "minimum": least, "maximum": most}], "examples": EXAMPLES})


#: Seconds; zero to a day.
Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0, le=86400),
    PlainSerializer(format_duration, return_type=str),
    _schema(0, 86400),
]
#: Seconds; more than nothing, at most a day.
PositiveDuration = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0.001, le=86400),
    PlainSerializer(format_duration, return_type=str),
    _schema(0.001, 86400),
]
#: What AMQP's ``heartbeat`` field holds (section 1.4.2.5.3): whole seconds in 16 bits; 0 turns heartbeats off.
Heartbeat = Annotated[
    int,
    BeforeValidator(_whole_seconds),
    Field(ge=0, le=65535),
    _schema(0, 65535, "integer"),
]
