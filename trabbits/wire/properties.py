"""The properties of a message that are no headers, read from its content header only as far as somebody looks.

Lives here: `property_place`, `raw_property`, `decode_property`.
Must not know: who looks, and what for; how headers are read (``headers.py``).

Source: AMQP 0-9-1 sections 4.2.6.1 (content headers) and 1.8.1 (the basic class).
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from trabbits.wire.headers import FLAGS_AT, PROPERTIES_AT

_U16: Final = struct.Struct(">H").unpack_from
_U32: Final = struct.Struct(">I").unpack_from
_HEADERS: Final = 0x2000
_SHORT_STRING: Final = 0
_TABLE: Final = -1

#: Name, flag, and size in octets or kind: in the order in which they stand.
_LAYOUT: Final = (
    ("content_type", 0x8000, _SHORT_STRING),
    ("content_encoding", 0x4000, _SHORT_STRING),
    ("headers", _HEADERS, _TABLE),
    ("delivery_mode", 0x1000, 1),
    ("priority", 0x0800, 1),
    ("correlation_id", 0x0400, _SHORT_STRING),
    ("reply_to", 0x0200, _SHORT_STRING),
    ("expiration", 0x0100, _SHORT_STRING),
    ("message_id", 0x0080, _SHORT_STRING),
    ("timestamp", 0x0040, 8),
    ("type", 0x0020, _SHORT_STRING),
    ("user_id", 0x0010, _SHORT_STRING),
    ("app_id", 0x0008, _SHORT_STRING),
)
#: What `raw_property` finds one by: its flag, flags and sizes of those that may stand before it, and its own size.
Place: TypeAlias = tuple[int, tuple[tuple[int, int], ...], int]
_PLACES: Final[dict[str, Place]] = {
    name: (flag, tuple(each[1:] for each in _LAYOUT[:rank]), size)
    for rank, (name, flag, size) in enumerate(_LAYOUT)
    if size != _TABLE
}
#: The properties that can be read here.
PROPERTY_NAMES: Final = tuple(_PLACES)
_NUMBERS: Final = frozenset(name for name, _, size in _LAYOUT if size > 0)


def property_place(name: str) -> Place:
    """Where a property is to be looked for.  Raises LookupError for one that is not in `PROPERTY_NAMES`."""
    return _PLACES[name]


def raw_property(octets: bytes, at: int, end: int, place: Place) -> bytes:
    """A property of the content header frame `octets[at:end]`, without its end octet, as it stands; empty if missing.

    A text stands there with its length.  Nothing behind the property is looked at.  Raises LookupError, ValueError or
    struct.error where the properties cannot be read so far.
    """
    flag, before, size = place
    flags: int = _U16(octets, at + FLAGS_AT)[0]
    if not flags & flag:
        return b""
    at += PROPERTIES_AT
    for other, its_size in before:
        if flags & other:
            if its_size == _SHORT_STRING:
                at += 1 + octets[at]
            elif its_size == _TABLE:
                at += 4 + _U32(octets, at)[0]
            else:
                at += its_size
    after = at + (size or 1 + octets[at])
    if after > end:
        raise ValueError("a property is longer than its frame")
    return octets[at:after]


def decode_property(name: str, raw: bytes) -> str | int | None:
    """The value of a property as it stands; None for one that is missing.

    Octets of a text that are not UTF-8 become lone surrogates, as in names of exchanges: the broker does not mind them.
    """
    if not raw:
        return None
    return int.from_bytes(raw, "big") if name in _NUMBERS else raw[1:].decode("utf-8", "surrogateescape")
