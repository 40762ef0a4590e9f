"""The headers that a routing strategy names: their values in a frame, and as the strategy gets them.

Lives here: `NamedHeaders`.  Must not know: what the strategy answers, where its answers are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from trabbits.wire.errors import Violation
from trabbits.wire.headers import UNREADABLE, header_key, headers_table, raw_header
from trabbits.wire.table import decode_value

#: Values as they stand in a frame, of one header alone if the strategy names one; empty where they are missing.
RawHeaders: TypeAlias = bytes | tuple[bytes, ...]


class NamedHeaders:
    """The headers of these names; `keys` are what they are found by."""

    __slots__ = ("_names", "keys")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self.keys = tuple(map(header_key, self._names))

    def raw(self, octets: bytes, at: int, end: int) -> RawHeaders:
        """Their values in the content header `octets[at:end]`; what cannot be read counts as missing."""
        try:
            at, stop = headers_table(octets, at, end)
        except UNREADABLE:
            at = stop = end
        found = []
        for key in self.keys:
            try:
                found.append(raw_header(octets, at, stop, key))
            except UNREADABLE:
                found.append(b"")
        return found[0] if len(found) == 1 else tuple(found)

    def decoded(self, found: RawHeaders) -> dict[str, Any]:
        """The same as Python values; what cannot be decoded is missing."""
        headers = {}
        for name, octets in zip(self._names, (found,) if isinstance(found, bytes) else found, strict=True):
            try:
                if octets:
                    headers[name] = decode_value(octets)
            except (Violation, ValueError):
                pass
        return headers
