"""The ``headers`` property of a message, read from its content header only as far as somebody looks.

Lives here: `MessageHeaders`.  Must not know: who looks, and what for.

Source: AMQP 0-9-1 section 4.2.6.1 (content headers), 1.8.1 (the basic class: content-type, content-encoding, headers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pamqp import decode

from trabbits.wire.errors import Violation
from trabbits.wire.table import check_table

_FLAGS: Final = struct.Struct(">H").unpack_from
_U32: Final = struct.Struct(">I").unpack_from
_CONTENT_TYPE: Final = 0x8000
_CONTENT_ENCODING: Final = 0x4000
_HEADERS: Final = 0x2000
#: Where the property flags of a content header frame are, and what follows them.
_FLAGS_AT: Final = 19
_PROPERTIES_AT: Final = 21
_LONG_STRING: Final = ord("S")


class MessageHeaders(Mapping[str, Any]):
    """The headers in the content header frame at `at` of `octets`, which is whole; empty where there are none.

    A table that cannot be read counts as empty: the broker will say what is wrong with it.
    """

    __slots__ = ("_decoded", "_end", "_octets", "_start")

    def __init__(self, octets: bytes, at: int = 0) -> None:
        self._octets = octets
        self._decoded: dict[str, Any] | None = None
        #: Where the table begins behind its length, and ends.
        self._start = self._end = 0
        flags: int = _FLAGS(octets, at + _FLAGS_AT)[0]
        if not flags & _HEADERS:
            self._decoded = {}
            return
        start = at + _PROPERTIES_AT
        if flags & _CONTENT_TYPE:
            start += 1 + octets[start]
        if flags & _CONTENT_ENCODING:
            start += 1 + octets[start]
        self._start = start + 4
        self._end = start + 4 + int(_U32(octets, start)[0])
        if self._end > at + 7 + int(_U32(octets, at + 3)[0]):
            self._decoded = {}

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The header of this name.  The first one of several that are all texts is found without decoding any other."""
        if self._decoded is not None:
            return self._decoded.get(name, default)
        octets, at, end = self._octets, self._start, self._end
        key = name.encode()
        try:
            while at < end:
                value = at + 6 + octets[at]
                after = value + _U32(octets, value - 4)[0]
                if octets[value - 5] != _LONG_STRING or after > end:
                    break
                if octets[at + 1 : value - 5] == key:
                    return octets[value:after].decode()
                at = after
            else:
                return default
        except (IndexError, ValueError, struct.error):
            pass
        return self._all().get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Any]:
        if self._decoded is None:
            table = bytes(self._octets[self._start : self._end])
            try:
                check_table(table)
                _, decoded = decode.field_table(len(table).to_bytes(4, "big") + table)
                self._decoded = dict(decoded)
            except (Violation, ValueError, ArithmeticError, OSError):
                self._decoded = {}
        return self._decoded
