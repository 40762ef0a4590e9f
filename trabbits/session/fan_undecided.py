"""A publish of a fan session whose way depends on its headers: the content header is awaited before anything is sent.

Lives here: `Undecided`.  Must not know: how it is decided (``fan_publish.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trabbits.wire.scanner import Destination

if TYPE_CHECKING:
    from trabbits.session.link import Link


class Undecided:
    """The destination of one message's content: the first octets, a whole content header at least, decide.

    `decide` gets them and answers with the link that has been sent the method, or with another destination.  It must
    not raise: octets are appended in the middle of a scan.
    """

    __slots__ = ("_decide", "_destination", "link")

    def __init__(self, decide: Callable[[Undecided, bytes], Destination]) -> None:
        self._decide = decide
        self._destination: Destination | None = None
        #: Where it goes, once that is decided.
        self.link: Link | None = None

    def append(self, octets: bytes, /) -> None:
        destination = self._destination
        if destination is None:
            destination = self._destination = self._decide(self, octets)
        destination.append(octets)
