"""The ``headers`` property of a message, read from its content header only as far as somebody looks.

Lives here: `MessageHeaders`.  Must not know: who looks, and what for.

Source: AMQP 0-9-1 section 4.2.6.1 (content headers), 1.8.1 (the basic class: content-type, content-encoding, headers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from trabbits.wire.errors import Violation
from trabbits.wire.table import FIXED_SIZES, SIZED_TYPES, decode_table

_U32: Final = struct.Struct(">I").unpack_from
#: In the first octet of the property flags.
_CONTENT_TYPE: Final = 0x80
_CONTENT_ENCODING: Final = 0x40
_HEADERS: Final = 0x20
#: Where the property flags of a content header frame are, and what follows them.
_FLAGS_AT: Final = 19
_PROPERTIES_AT: Final = 21
_LONG_STRING: Final = ord("S")
#: Names as they stand in a table, behind their length, so that they are searched for without encoding them each time.
_KEYS_MAX: Final = 1000
_keys: dict[str, bytes] = {}


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
        octets = self._octets
        flags = octets[self._at + _FLAGS_AT]
        if not flags & _HEADERS:
            return default
        try:
            at, end = self._table(flags)
            key = _keys.get(name) or _key(name)
            found = octets.find(key, at, end)
            if found < 0:
                return default
            while at < found:
                # What was found may be part of a value: it counts only where an entry begins.
                at += 1 + octets[at]
                kind = octets[at]
                if kind in SIZED_TYPES:
                    at += 5 + _U32(octets, at + 1)[0]
                else:
                    at += 1 + FIXED_SIZES[kind]
            value = at + len(key) + 5
            after = value + _U32(octets, value - 4)[0]
            if at == found and octets[value - 5] == _LONG_STRING and after <= end:
                return octets[value:after].decode()
        except (LookupError, ValueError, struct.error):
            pass
        return self._all().get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _table(self, flags: int) -> tuple[int, int]:
        """Where the table begins behind its length, and ends.  Raises ValueError, IndexError, struct.error."""
        octets = self._octets
        start = self._at + _PROPERTIES_AT
        if flags & _CONTENT_TYPE:
            start += 1 + octets[start]
        if flags & _CONTENT_ENCODING:
            start += 1 + octets[start]
        end = start + 4 + _U32(octets, start)[0]
        if end > self._at + 7 + _U32(octets, self._at + 3)[0]:
            raise ValueError("the table is longer than its frame")
        return start + 4, end

    def _all(self) -> dict[str, Any]:
        if self._decoded is None:
            self._decoded = {}
            flags = self._octets[self._at + _FLAGS_AT]
            if flags & _HEADERS:
                try:
                    at, end = self._table(flags)
                    self._decoded = decode_table(bytes(self._octets[at:end]))
                except (Violation, LookupError, ValueError, struct.error):
                    pass
        return self._decoded


def _key(name: str) -> bytes:
    """The name behind its length.  Raises ValueError for one that no table can have."""
    octets = name.encode()
    key = bytes((len(octets),)) + octets
    if len(_keys) >= _KEYS_MAX:
        _keys.clear()
    _keys[name] = key
    return key
