"""Consumers that span several links, and the deliveries that wait because the client's window is full.

Every link keeps to the client's prefetch on its own, so together they may deliver more than the client asked for:
the surplus is *held* here, in order, and counts as unacknowledged upstream (RabbitMQ, "Consumer Prefetch").
Must not know: frames' layout beyond where the tag is; who sends what where.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from trabbits.session.observation import HeldOctets
from trabbits.wire.scanner import DISCARD, Content

if TYPE_CHECKING:
    from trabbits.session.link import Link


class Held:
    """A delivery that waits.  `tag_offset` is where in its first piece of octets the delivery tag is."""

    __slots__ = ("content", "counted", "link", "octets", "tag", "tag_offset", "waits")

    def __init__(self, link: Link, tag: int, tag_offset: int) -> None:
        self.link = link
        self.tag = tag
        self.tag_offset = tag_offset
        self.octets: list[bytes] = HeldOctets()
        #: The content while it is not whole.
        self.content: Content | None = None
        #: Whether it still waits: neither delivered nor dropped.
        self.waits = True
        #: With how many octets it stands in the session's account of what is held.
        self.counted = 0

    @property
    def size(self) -> int:
        """Octets held."""
        return sum(map(len, self.octets))

    def discard(self) -> None:
        """Nobody will see it: what is still to come of it is dropped, too."""
        self.waits = False
        if self.content is not None:
            self.content.destination = DISCARD
            self.content.done = None


class Consumer:
    """A consumer of the client: the same tag on all links.

    `limit` is its prefetch count, 0 for none; `links` are those that still consume.
    """

    __slots__ = ("cancelling", "held", "limit", "links", "no_ack", "started", "tag", "unacked")

    def __init__(self, tag: bytes, links: set[Link], *, no_ack: bool, limit: int) -> None:
        self.tag = tag
        self.links = links
        self.no_ack = no_ack
        self.limit = 0 if no_ack else limit
        self.unacked = 0
        #: Whether the client knows of it: RabbitMQ sends nothing before consume-ok.
        self.started = False
        #: Whether the client asked to cancel it: nothing is held for it any more.
        self.cancelling = False
        self.held: deque[Held] = deque()
