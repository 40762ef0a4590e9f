"""Field tables without loss: split into raw entries, changed entry by entry, joined again.

Lives here: walking field tables and field arrays as octets, decoding them, and encoding single values.
Must not know: which tables mean what, frames.

Decoding a table to Python values and encoding it again changes it (float and double, the width of integers,
the order of keys), so a table of which one entry is to be changed is never decoded: the other entries stay the
octets they were.  ``octets`` is always a table *without* its 4-octet length.

Source: AMQP 0-9-1 section 4.2.5.5 (field tables) as RabbitMQ reads them: section 3 of RabbitMQ's AMQP 0-9-1
errata and ``rabbit_binary_parser:parse_table/1``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pamqp import decode, encode

from trabbits.wire.arguments import MALFORMED
from trabbits.wire.errors import Violation

#: Octets behind the type octet, by type, as RabbitMQ has them: ``s`` is a 16-bit integer (not a short string),
#: ``l`` and ``L`` are both signed 64-bit ones, ``D`` is a scale octet and 32 bits, ``V`` has nothing.
FIXED_SIZES: Final[dict[int, int]] = {
    ord(kind): size
    for kind, size in {
        "t": 1, "b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "l": 8, "L": 8, "f": 4, "d": 8, "D": 5, "T": 8, "V": 0,
    }.items()
}  # fmt: skip
LONG_STRING: Final = ord("S")
_BYTE_ARRAY: Final = ord("x")
_TABLE: Final = ord("F")
_ARRAY: Final = ord("A")
#: Types whose value begins with its length in four octets.
SIZED_TYPES: Final = frozenset((LONG_STRING, _BYTE_ARRAY, _TABLE, _ARRAY))
_DOUBLE: Final = ord("d")
_FLOAT: Final = ord("f")

#: How deep tables and arrays may stand in each other.  RabbitMQ has no limit but the frame's size; what is
#: deeper than this is an attack on somebody's stack.
MAX_NESTING: Final = 64
KEY_MAX: Final = 255

_U32: Final = struct.Struct(">I")
_DOUBLE_OF: Final = struct.Struct(">d")
_FLOAT_OF: Final = struct.Struct(">f")
_SIGNED_32: Final = range(-(2**31), 2**31)


def _corrupt(why: str) -> Violation:
    return Violation(MALFORMED, f"cannot decode a field table: {why}")


def split_table(octets: bytes) -> list[tuple[bytes, bytes]]:
    """The entries of a table in order: key, and raw value with its type octet.

    Nested tables and arrays are checked as well.  Raises `Violation` for anything that RabbitMQ cannot parse, and
    for nesting deeper than `MAX_NESTING`.
    """
    entries = []
    at, end = 0, len(octets)
    while at < end:
        value_at = at + 1 + octets[at]
        after = _after_value(octets, value_at, end, 1)
        entries.append((octets[at + 1 : value_at], octets[value_at:after]))
        at = after
    return entries


def split_array(octets: bytes) -> list[bytes]:
    """The raw values of an array, each with its type octet; `octets` do not hold its length and were found sound."""
    items = []
    at, end = 0, len(octets)
    while at < end:
        after = _end(octets, at)
        items.append(octets[at:after])
        at = after
    return items


def check_table(octets: bytes) -> None:
    """Raise `Violation` unless `octets` are a table that RabbitMQ can parse, nested at most `MAX_NESTING` deep."""
    _check_entries(octets, 0, len(octets), 1)


def _check_entries(octets: bytes, at: int, end: int, depth: int) -> None:
    while at < end:
        at = _after_value(octets, at + 1 + octets[at], end, depth)


def _check_items(octets: bytes, at: int, end: int, depth: int) -> None:
    while at < end:
        at = _after_value(octets, at, end, depth)


def _after_value(octets: bytes, at: int, end: int, depth: int) -> int:
    """The offset behind the value whose type octet stands at `at`, after checking that it ends by `end`."""
    if at >= end:
        raise _corrupt("a key without a value")
    kind = octets[at]
    size = FIXED_SIZES.get(kind)
    if size is not None:
        after = at + 1 + size
        if after > end:
            raise _corrupt(f"a value of type {chr(kind)!r} needs {size} octets, {end - at - 1} are left")
        # RabbitMQ's float patterns match no infinity and no NaN: for it such a value is corrupt.
        if kind == _DOUBLE and not math.isfinite(_DOUBLE_OF.unpack_from(octets, at + 1)[0]):
            raise _corrupt("a double that is not a finite number")
        if kind == _FLOAT and not math.isfinite(_FLOAT_OF.unpack_from(octets, at + 1)[0]):
            raise _corrupt("a float that is not a finite number")
        return after
    if kind not in SIZED_TYPES:
        raise _corrupt(f"unknown type octet {kind:#04x}")
    start = at + 5
    if start > end:
        raise _corrupt(f"the length of a value of type {chr(kind)!r} is cut off")
    after = start + int(_U32.unpack_from(octets, at + 1)[0])
    if after > end:
        raise _corrupt(f"a value of type {chr(kind)!r} needs {after - start} octets, {end - start} are left")
    if kind in (_TABLE, _ARRAY):
        if depth >= MAX_NESTING:
            raise _corrupt(f"tables and arrays nested deeper than {MAX_NESTING}")
        check = _check_entries if kind == _TABLE else _check_items
        check(octets, start, after, depth + 1)
    return after


def decode_table(octets: bytes) -> dict[str, Any]:
    """The table as Python values, such as pamqp makes of them; of several entries of one name the first one counts.

    Raises `Violation` for anything that RabbitMQ cannot parse, and ValueError for what it can and pamqp cannot: keys
    that are not UTF-8, timestamps behind the year 9999.
    """
    check_table(octets)
    try:
        return _decoded_entries(octets, 0, len(octets))
    except (ArithmeticError, OSError) as error:
        raise ValueError(str(error)) from error


def decode_value(octets: bytes) -> Any:
    """One value with its type octet, as `decode_table` has it, with the same errors."""
    if _after_value(octets, 0, len(octets), 1) != len(octets):
        raise _corrupt("a value with octets behind it")
    try:
        return _decoded(octets, 0, len(octets))
    except (ArithmeticError, OSError) as error:
        raise ValueError(str(error)) from error


# Walked here although pamqp can decode whole tables: for each entry it copies all that is left of them, so that 64 KiB
# of small ones, which anybody may send before login, would keep everybody else waiting for a quarter of a second.


def _decoded_entries(octets: bytes, at: int, end: int) -> dict[str, Any]:
    """Those of a table that was checked."""
    found: dict[str, Any] = {}
    while at < end:
        value_at = at + 1 + octets[at]
        after = _end(octets, value_at)
        found.setdefault(octets[at + 1 : value_at].decode(), _decoded(octets, value_at, after))
        at = after
    return found


def _decoded(octets: bytes, at: int, end: int) -> Any:
    kind = octets[at]
    if kind == _TABLE:
        return _decoded_entries(octets, at + 5, end)
    if kind != _ARRAY:
        return decode.embedded_value(octets[at:end])[1]
    items = []
    at += 5
    while at < end:
        after = _end(octets, at)
        items.append(_decoded(octets, at, after))
        at = after
    return items


def _end(octets: bytes, at: int) -> int:
    """The offset behind the value whose type octet stands at `at`."""
    size = FIXED_SIZES.get(octets[at])
    return at + 1 + size if size is not None else at + 5 + int(_U32.unpack_from(octets, at + 1)[0])


def join_table(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The table that holds these entries, each a key and a raw value with its type octet."""
    return b"".join(bytes((len(key),)) + key + value for key, value in entries)


def override(octets: bytes, values: Mapping[str, Any]) -> bytes:
    """The table with some entries changed; the octets of all others, and their order, stay.

    An entry named in `values` gets the new value in place (a second one of that name is dropped), or disappears
    when that is None.  Names the table lacks are appended in the order of `values`.  Raises `Violation` when the
    table is corrupt, `TypeError` or `ValueError` when a new value cannot be encoded.
    """
    if not values:
        return octets
    left: dict[bytes, bytes] = {
        _key(name): b"" if value is None else encode_value(value) for name, value in values.items()
    }
    changed = dict(left)
    entries = []
    for key, raw in split_table(octets):
        new = left.pop(key, b"") if key in changed else raw
        if new:
            entries.append((key, new))
    entries.extend((key, new) for key, new in left.items() if new)
    return join_table(entries)


def encode_table(table: Mapping[str, Any]) -> bytes:
    """A whole table, without its length, in the order of the mapping.  Raises as `encode_value`."""
    return join_table((_key(name), encode_value(value)) for name, value in table.items())


def encode_value(value: Any) -> bytes:
    """A Python value as a raw value with its type octet.

    Numbers take the types every RabbitMQ understands and every client reads alike: integers are signed, ``I``
    where 32 bits do and else ``l``; floats are doubles, ``d``.  `bytes` become a long string ``S`` (pamqp decodes
    one that is not UTF-8 to them), `bytearray` a byte array ``x``.  The other types go through pamqp.

    Raises `TypeError` for types without counterpart, `ValueError` for values out of range.
    """
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int):
        if value in _SIGNED_32:
            return b"I" + value.to_bytes(4, "big", signed=True)
        try:
            return b"l" + value.to_bytes(8, "big", signed=True)
        except OverflowError as error:
            raise ValueError(f"{value} does not fit 64 bits") from error
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"RabbitMQ reads no {value}")
        return b"d" + _DOUBLE_OF.pack(value)
    if isinstance(value, (str, bytes)):
        return b"S" + _with_length(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)
    if isinstance(value, Mapping):
        return b"F" + _with_length(encode_table(value))
    if isinstance(value, (list, tuple)):
        return b"A" + _with_length(b"".join(encode_value(item) for item in value))
    try:
        return encode.encode_table_value(value)
    except (struct.error, ArithmeticError) as error:
        raise ValueError(f"{value!r} cannot be encoded") from error


def _with_length(octets: bytes) -> bytes:
    return _U32.pack(len(octets)) + octets


def _key(name: str) -> bytes:
    key = name.encode("utf-8")
    if len(key) > KEY_MAX:
        raise ValueError(f"the key {name[:40]!r}... has {len(key)} octets, {KEY_MAX} are possible")
    return key
