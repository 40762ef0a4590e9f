"""The properties of a message as a routing strategy gets them: decoded when it looks.

Lives here: `LazyMessageProperties`, `HeadersAlone`.
Must not know: how properties stand in a frame, who is asked about them.

There is one of these for each message that a strategy is asked about.  `MessageProperties` itself takes several times
as long to make, because it is frozen and has many attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from trabbits.interfaces import MessageProperties
from trabbits.wire.headers import UNREADABLE, MessageHeaders, payload_end
from trabbits.wire.properties import PROPERTY_NAMES, decode_property, property_place, raw_property


class LazyMessageProperties(MessageProperties):
    """Those of the content header frame at `at` of `octets`, which is whole.

    A property that cannot be read counts as missing: the broker will say what is wrong with it.
    """

    __slots__ = ("_at", "_octets")
    _at: int
    _octets: bytes

    def __init__(self, octets: bytes, at: int = 0) -> None:
        _set_octets(self, octets)
        _set_at(self, at)
        _set_headers(self, MessageHeaders(octets, at))


class HeadersAlone(MessageProperties):
    """No properties but these headers."""

    __slots__ = ()

    def __init__(self, headers: Mapping[str, Any]) -> None:
        _set_headers(self, headers)


_set_octets = vars(LazyMessageProperties)["_octets"].__set__
_set_at = vars(LazyMessageProperties)["_at"].__set__
_set_headers = vars(MessageProperties)["headers"].__set__


def _looked_at(name: str, properties: LazyMessageProperties) -> str | int | None:
    octets, at = properties._octets, properties._at
    try:
        return decode_property(name, raw_property(octets, at, payload_end(octets, at), property_place(name)))
    except UNREADABLE:
        return None


for _name in PROPERTY_NAMES:
    # Not by __getattr__, which is asked only after AttributeError was raised: that takes a microsecond.
    setattr(LazyMessageProperties, _name, property(partial(_looked_at, _name)))
    setattr(HeadersAlone, _name, None)
