"""Routing by consistent hashing: upstreams share the keys evenly, and one that goes or comes moves only its own.

Lives here: `Ring` and the declaration.  Must not know: which part of a message is its key (``sticky.py``).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.declaring import Plugin, UpstreamName
from trabbits.plugins.sticky import StickyOptions, sticky

#: How often each upstream stands on the ring: its share of the keys is even to about 1 in 45 (the root of this).
_PLACES = 2048
_WORDS = struct.Struct(">8Q")


class Ring:
    """Each upstream stands at many points of a ring; a key belongs to the next one from its own point on.

    The order in which upstreams are named makes no difference.
    """

    def __init__(self, upstreams: Iterable[str]) -> None:
        ring = sorted((place, name) for name in upstreams for place in _places(name))
        self._places = [place for place, _ in ring]
        self._names = [name for _, name in ring]
        self._names.append(self._names[0])  # behind the last one the ring begins again

    def __call__(self, point: int) -> str:
        return self._names[bisect_right(self._places, point)]


def _places(name: str) -> Iterable[int]:
    octets = name.encode("utf-8", "surrogatepass")
    for number in range(_PLACES // 8):
        yield from _WORDS.unpack(blake2b(octets, salt=number.to_bytes(16, "big")).digest())


def _distinct(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            what = f'each upstream once, not "{name}" twice'
            raise PydanticCustomError("expected", "expected {what}", {"what": what, "hide": True})
    return names


class HashOptions(StickyOptions):
    """Who shares the keys."""

    upstreams: Annotated[list[UpstreamName], Field(min_length=1), AfterValidator(_distinct)]
    """The upstreams that share the keys; their order makes no difference."""


hash = Plugin(  # noqa: A001 - modules of plugins name them as the configuration does
    "hash",
    IRoutingStrategy,
    HashOptions,
    lambda options, _: sticky(options, Ring(options.upstreams)),
    "even shares of the routing keys, or of the values of a header",
)
