"""Field tables with the types that their sender gave.

Lives here: `Table`, and reading one from octets.  Must not know: which tables mean what.

RabbitMQ compares arguments by type as well as by value and names both in its errors, so what pamqp makes of a table is
not enough.

Source: AMQP 0-9-1 section 4.2.5.5; type names as in RabbitMQ's ``rabbit_framing:amqp_field_type/0``.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from trabbits.wire.table import split_table

#: The integers that RabbitMQ takes where a number is asked for.
INTEGERS: Final[frozenset[str]] = frozenset(
    {"byte", "short", "signedint", "long", "unsignedbyte", "unsignedshort", "unsignedint"}
)
_COUNT_MAX: Final = 2**63 - 2
_FLOATS: Final[frozenset[str]] = frozenset({"float", "double"})

_NUMBERS: Final[dict[int, tuple[str, struct.Struct]]] = {
    ord("b"): ("byte", struct.Struct(">b")),
    ord("B"): ("unsignedbyte", struct.Struct(">B")),
    ord("s"): ("short", struct.Struct(">h")),
    ord("u"): ("unsignedshort", struct.Struct(">H")),
    ord("I"): ("signedint", struct.Struct(">i")),
    ord("i"): ("unsignedint", struct.Struct(">I")),
    ord("l"): ("long", struct.Struct(">q")),
    ord("L"): ("long", struct.Struct(">q")),
    ord("f"): ("float", struct.Struct(">f")),
    ord("d"): ("double", struct.Struct(">d")),
    ord("T"): ("timestamp", struct.Struct(">Q")),
}
_OCTETS: Final[dict[int, str]] = {ord("x"): "binary", ord("F"): "table", ord("A"): "array", ord("D"): "decimal"}


class Value(NamedTuple):
    """A value and the name of its type; tables, arrays and what else is not looked into are the octets they were."""

    kind: str
    value: Any

    @property
    def kind_class(self) -> str:
        """What types compare equal by (``rabbit_misc:type_class/1``)."""
        if self.kind in INTEGERS:
            return "int"
        return "float" if self.kind in _FLOATS else self.kind

    def matches(self, other: Value) -> bool:
        return self.value == other.value and self.kind_class == other.kind_class

    def __str__(self) -> str:
        value = self.value
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f"the value '{text}' of type '{self.kind}'"


Table = dict[str, Value]


def read_table(octets: bytes) -> Table:
    """The table in `octets`, which do not hold its length.  Raises `Violation` where RabbitMQ could not read it."""
    return {key.decode("utf-8", "surrogateescape"): read_value(raw) for key, raw in split_table(octets)}


def read_value(raw: bytes) -> Value:
    """The value in `raw`, which begins with its type octet and was found to be sound."""
    kind = raw[0]
    number = _NUMBERS.get(kind)
    if number is not None:
        return Value(number[0], number[1].unpack_from(raw, 1)[0])
    if kind == ord("S"):
        return Value("longstr", raw[5:].decode("utf-8", "surrogateescape"))
    if kind == ord("t"):
        return Value("bool", raw[1] != 0)
    if kind == ord("V"):
        return Value("void", None)
    return Value(_OCTETS[kind], raw[1:] if kind == ord("D") else raw[5:])


def integer(raw: bytes) -> int:
    """The integer in a raw value, as far as one more than it fits 64 bits; 0 if it is something else."""
    value = read_value(raw)
    return min(int(value.value), _COUNT_MAX) if value.kind in INTEGERS else 0


def raw(kind: str, value: int | str | bytes) -> bytes:
    """One value as octets: kind ``l`` and ``T`` of an integer, ``S`` of text, ``A`` and ``F`` of what is in them."""
    if isinstance(value, int):
        return kind.encode() + struct.pack(">q", value)
    octets = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return kind.encode() + struct.pack(">I", len(octets)) + octets
