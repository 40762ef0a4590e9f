"""What `weighted` and `hash` share: messages that belong together go to the same upstream.

Lives here: which part of a message says that, its place among 2**64 points, and the strategies that ask for both.
Must not know: how the points are divided among upstreams.

The points are the same in every process, on every machine and in every version: they decide where messages go.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from trabbits.interfaces import IPropertyRoutingStrategy, IRoutingStrategy, MessageProperties
from trabbits.plugins.declaring import PluginOptions, UpstreamName

#: How many points there are.
POINTS: Final = 2**64

#: The upstream that has a point.
Division: TypeAlias = Callable[[int], str]


def _sized(name: str) -> str:
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= 255:
        raise PydanticCustomError("expected", "expected {what}", {"what": "the name of a header: 1 to 255 octets"})
    return name


#: A field of options that names a header.
HeaderName = Annotated[str, AfterValidator(_sized)]


class StickyOptions(PluginOptions):
    """What holds messages together."""

    header: HeaderName | None = None
    """The header that messages which belong together have in common; null: it is the routing key."""
    default: UpstreamName | None = None
    """What gets messages without that header; null: no opinion, so the first upstream."""

    @model_validator(mode="after")
    def _default_needs_a_header(self) -> StickyOptions:
        if self.default is not None and self.header is None:
            what = '"default" only together with "header": every message has a routing key'
            raise PydanticCustomError("expected", "expected {what}", {"what": what, "hide": True})
        return self


def sticky(options: StickyOptions, division: Division) -> IRoutingStrategy:
    """The strategy for these options; it reads headers only if they name one."""
    if options.header is None:
        return ByRoutingKey(division)
    return ByHeader(options.header, division, options.default)


@implementer(IRoutingStrategy)
class ByRoutingKey:
    """Messages with the same routing key go to the same upstream, whatever their exchange."""

    def __init__(self, division: Division) -> None:
        self._division = division

    def route(self, exchange: str, routing_key: str) -> str | None:
        return self._division(point(routing_key.encode("utf-8", "surrogatepass")))


@implementer(IPropertyRoutingStrategy)
class ByHeader:
    """Messages with the same value of a header go to the same upstream, those without it to `default`."""

    def __init__(self, header: str, division: Division, default: str | None = None) -> None:
        self.header_names = (header,)
        self.property_names = ()
        self._header = header
        self._division = division
        self._default = default

    def route(self, exchange: str, routing_key: str) -> str | None:
        return self._default

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        octets = octets_of(properties.headers.get(self._header))
        return self._default if octets is None else self._division(point(octets))


def point(octets: bytes) -> int:
    """The place of a key: 64 bits that look random and never change."""
    return int.from_bytes(blake2b(octets, digest_size=8).digest(), "big")


def octets_of(value: Any) -> bytes | None:
    """The key that the value of a header is; None for what is no key: nothing, tables and arrays.

    Texts, numbers and octets of the same spelling are the same key, because publishers in different languages choose
    different types for the same thing.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int | float | Decimal | datetime):
        return str(value).encode("ascii")
    return None
