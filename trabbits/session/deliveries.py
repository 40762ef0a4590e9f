"""Delivery tags over several links: one increasing sequence per channel of the client.

Lives here: which link and which tag of it stand behind a tag the client was given.
Must not know: frames, consumers' windows.
Source: AMQP 0-9-1 section 1.8.3.13 (basic.ack); RabbitMQ's rabbit_channel:collect_acks for unknown tags.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trabbits.session.consumers import Consumer
    from trabbits.session.link import Link

#: (link, the link's tag, the consumer or None for a message got by basic.get)
Entry = tuple["Link", int, "Consumer | None"]


class UnknownTag(Exception):
    """The client settled a tag that is not outstanding."""


class Deliveries:
    """The deliveries on one channel that the client has not settled yet.

    `outstanding` holds an entry for each tag from `first` on, None for one settled already or never to be.
    Both are public for the one place on the hot path that settles the first tag itself.
    """

    __slots__ = ("first", "last", "outstanding")

    def __init__(self) -> None:
        self.first = 1
        self.last = 0
        self.outstanding: deque[Entry | None] = deque()

    def issue(self, entry: Entry | None) -> int:
        """The next tag, for this delivery; None for one that needs no settling."""
        self.last += 1
        if entry is not None or self.outstanding:
            self.outstanding.append(entry)
        else:
            self.first = self.last + 1
        return self.last

    def settle_one(self, tag: int) -> Entry:
        """Take the entry of a tag; raises `UnknownTag`."""
        outstanding = self.outstanding
        place = tag - self.first
        if not 0 <= place < len(outstanding):
            raise UnknownTag(tag)
        entry = outstanding[place]
        if entry is None:
            raise UnknownTag(tag)
        outstanding[place] = None
        self.trim()
        return entry

    def settle_upto(self, tag: int) -> list[tuple[int, Entry]]:
        """Take all entries up to a tag, which must be outstanding, or 0 for "all"; raises `UnknownTag`."""
        outstanding = self.outstanding
        place = tag - self.first
        if tag == 0:
            place = len(outstanding) - 1
        elif not 0 <= place < len(outstanding) or outstanding[place] is None:
            raise UnknownTag(tag)
        found = []
        for _ in range(place + 1):
            entry = outstanding.popleft()
            if entry is not None:
                found.append((self.first, entry))
            self.first += 1
        self.trim()
        return found

    def restore(self, settled: list[tuple[int, Entry]]) -> None:
        """Make settled entries outstanding again: the transaction they were settled in was rolled back."""
        if not settled:
            return
        lowest = min(tag for tag, _ in settled)
        while self.first > lowest:
            self.first -= 1
            self.outstanding.appendleft(None)
        for tag, entry in settled:
            self.outstanding[tag - self.first] = entry

    def clear(self) -> None:
        """Forget everything outstanding (basic.recover: the upstreams deliver it anew)."""
        self.outstanding.clear()
        self.first = self.last + 1

    def trim(self) -> None:
        """Drop what is settled at the front."""
        outstanding = self.outstanding
        while outstanding and outstanding[0] is None:
            outstanding.popleft()
            self.first += 1
