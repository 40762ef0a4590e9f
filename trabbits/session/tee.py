"""Sending the same octets to several links, and finding out who gets what is sent somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.session.mirroring import Copying
from trabbits.wire.scanner import Destination

if TYPE_CHECKING:
    from trabbits.session.link import Link


class Tee:
    """A destination that is several."""

    __slots__ = ("outs",)

    def __init__(self, outs: list[list[bytes]]) -> None:
        self.outs = outs

    def append(self, octets: bytes, /) -> None:
        for out in self.outs:
            out.append(octets)


def goes_to(destination: Destination, link: Link) -> bool:
    """Whether what is appended to this destination reaches the link."""
    if isinstance(destination, Tee):
        return any(out is link.out for out in destination.outs)
    if isinstance(destination, Copying):
        return destination.link is link
    return destination is link.out
