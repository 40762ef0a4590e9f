"""The ``headers`` property of a message, read from its content header only as far as somebody looks.

Lives here: `MessageHeaders` and what it is made of: `headers_table`, `raw_header`, `header_key`.
Must not know: who looks, and what for.

Source: AMQP 0-9-1 section 4.2.6.1 (content headers), 1.8.1 (the basic class: content-type, content-encoding, headers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from trabbits.wire.errors import Violation
from trabbits.wire.table import FIXED_SIZES, LONG_STRING, SIZED_TYPES, decode_table

_U32: Final = struct.Struct(">I").unpack_from
#: In the first octet of the property flags.
_CONTENT_TYPE: Final = 0x80
_CONTENT_ENCODING: Final = 0x40
_HEADERS: Final = 0x20
#: Where the property flags of a content header frame are, and what follows them.
FLAGS_AT: Final = 19
PROPERTIES_AT: Final = 21
#: For a quick look at a content header frame: type, channel, size, the first octet of its flags, and the length of the
#: table of headers, which stands at `TABLE_AT` if the flags say that no other property stands before it.
HEAD_AND_TABLE: Final = struct.Struct(">BHI12xBxI").unpack_from
TABLE_AT: Final = 25
FLAGS_UP_TO_TABLE: Final = _CONTENT_TYPE | _CONTENT_ENCODING | _HEADERS
TABLE_FIRST: Final = _HEADERS
#: Names as they stand in a table, so that they are searched for without encoding them each time.
_KEYS_MAX: Final = 1000
_keys: dict[str, bytes] = {}
#: What a table that cannot be read raises.
UNREADABLE: Final = (LookupError, ValueError, struct.error)


def header_key(name: str) -> bytes:
    """A header's name as it stands in a table: behind its length.  Raises ValueError for one that no table can have."""
    octets = name.encode()
    return bytes((len(octets),)) + octets


def payload_end(octets: bytes, at: int) -> int:
    """Where the payload of the frame at `at` ends, and its end octet stands."""
    end: int = at + 7 + _U32(octets, at + 3)[0]
    return end


def headers_table(octets: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the headers stand in the content header frame `octets[at:end]`, without its end octet.

    The table's first octet behind its length, and the one behind its last; both the same for a message without headers.
    Raises LookupError, ValueError or struct.error for what does not fit into the frame.
    """
    flags = octets[at + FLAGS_AT]
    at += PROPERTIES_AT
    if not flags & _HEADERS:
        return at, at
    if flags & _CONTENT_TYPE:
        at += 1 + octets[at]
    if flags & _CONTENT_ENCODING:
        at += 1 + octets[at]
    stop = at + 4 + _U32(octets, at)[0]
    if stop > end:
        raise ValueError("the table is longer than its frame")
    return at + 4, stop


def raw_header(octets: bytes, at: int, stop: int, key: bytes) -> bytes:
    """The value of a header in the table `octets[at:stop]` with its type octet; empty if the header is not there.

    `key` comes from `header_key`.  Of several headers of one name the first one counts, as for RabbitMQ's
    ``table_lookup``.  Nothing is decoded, and nothing behind the value is looked at.  Raises LookupError, ValueError or
    struct.error for a table that cannot be read so far.
    """
    found = octets.find(key, at, stop)
    while found >= 0:
        # What was found may be part of a value: it counts only where an entry begins.
        while at < found:
            at += 1 + octets[at]
            kind = octets[at]
            if kind in SIZED_TYPES:
                at += 5 + _U32(octets, at + 1)[0]
            else:
                at += 1 + FIXED_SIZES[kind]
        if at > stop:
            raise ValueError("a value is longer than its table")
        if at == found:
            at += len(key)
            kind = octets[at]
            after = at + 5 + _U32(octets, at + 1)[0] if kind in SIZED_TYPES else at + 1 + FIXED_SIZES[kind]
            if after > stop:
                raise ValueError("a value is longer than its table")
            return octets[at:after]
        found = octets.find(key, at, stop)
    return b""


class MessageHeaders(Mapping[str, Any]):
    """The headers in the content header frame at `at` of `octets`, which is whole; empty where there are none.

    A table that cannot be read counts as empty: the broker will say what is wrong with it.
    """

    __slots__ = ("_at", "_decoded", "_octets")

    def __init__(self, octets: bytes, at: int = 0) -> None:
        # One for each message: nothing is looked at before somebody asks.
        self._octets = octets
        self._at = at
        self._decoded: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The header of this name.  A text is found without decoding anything else."""
        if self._decoded is not None:
            return self._decoded.get(name, default)
        octets, at = self._octets, self._at
        try:
            _, _, size, flags, length = HEAD_AND_TABLE(octets, at)
            end = at + 7 + size
            if flags & FLAGS_UP_TO_TABLE == TABLE_FIRST and length <= end - at - TABLE_AT:
                at += TABLE_AT
                stop = at + length
            else:
                at, stop = headers_table(octets, at, end)
            raw = raw_header(octets, at, stop, _keys.get(name) or _key(name))
            if not raw:
                return default
            if raw[0] == LONG_STRING:
                return raw[5:].decode()
        except UNREADABLE:
            pass
        return self._all().get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Any]:
        if self._decoded is None:
            self._decoded = {}
            octets, at = self._octets, self._at
            try:
                at, stop = headers_table(octets, at, payload_end(octets, at))
                self._decoded = decode_table(bytes(octets[at:stop]))
            except (Violation, *UNREADABLE):
                pass
        return self._decoded


def _key(name: str) -> bytes:
    """`header_key`, remembered."""
    if len(_keys) >= _KEYS_MAX:
        _keys.clear()
    key = _keys[name] = header_key(name)
    return key
