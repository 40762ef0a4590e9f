"""The properties that a routing strategy names: their values in a frame, and as the strategy gets them.

Lives here: `NamedProperties`.  Must not know: what the strategy answers, where its answers are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from trabbits.interfaces import MessageProperties
from trabbits.session.message_properties import HeadersAlone
from trabbits.wire.errors import Violation
from trabbits.wire.headers import UNREADABLE, header_key, headers_table, raw_header
from trabbits.wire.properties import decode_property, property_place, raw_property
from trabbits.wire.table import LONG_STRING, decode_value

#: Values as they stand in a frame, headers first; of a single header alone if nothing else is named.  Empty where they
#: are missing.
RawValues: TypeAlias = bytes | tuple[bytes, ...]


class NamedProperties:
    """The headers and other properties of these names; `keys` and `places` are what they are found by."""

    __slots__ = ("_headers", "_properties", "keys", "places")

    def __init__(self, headers: Iterable[str], properties: Iterable[str]) -> None:
        self._headers = tuple(headers)
        self._properties = tuple(properties)
        self.keys = tuple(map(header_key, self._headers))
        self.places = tuple(map(property_place, self._properties))

    def raw(self, octets: bytes, at: int, end: int) -> RawValues:
        """Their values in the content header `octets[at:end]`; what cannot be read counts as missing."""
        found: list[bytes] = []
        if self.keys:
            try:
                table, stop = headers_table(octets, at, end)
            except UNREADABLE:
                table = stop = end
            for key in self.keys:
                try:
                    found.append(raw_header(octets, table, stop, key))
                except UNREADABLE:
                    found.append(b"")
            if len(found) == 1 and not self.places:
                return found[0]
        for place in self.places:
            try:
                found.append(raw_property(octets, at, end, place))
            except UNREADABLE:
                found.append(b"")
        return tuple(found)

    def decoded(self, found: RawValues) -> MessageProperties:
        """The same as Python values; what cannot be decoded is missing."""
        if isinstance(found, bytes):
            if found and found[0] == LONG_STRING:
                try:
                    return HeadersAlone({self._headers[0]: found[5:].decode()})  # what it almost always is
                except ValueError:
                    pass
            found = (found,)
        headers: dict[str, Any] = {}
        for name, octets in zip(self._headers, found, strict=False):
            if octets:
                try:
                    headers[name] = decode_value(octets)
                except (Violation, ValueError):
                    pass
        if not self._properties:
            return HeadersAlone(headers)
        others = zip(self._properties, found[len(self._headers) :], strict=True)
        named: dict[str, Any] = {name: decode_property(name, octets) for name, octets in others}
        return MessageProperties(headers, **named)
