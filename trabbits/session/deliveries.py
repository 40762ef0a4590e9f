"""Delivery tags over several links: one increasing sequence per channel of the client.

Lives here: which link and which tag of it stand behind a tag the client was given.
Must not know: frames, consumers' windows.
Source: AMQP 0-9-1 section 1.8.3.13 (basic.ack); RabbitMQ's rabbit_channel:collect_acks for unknown tags.
"""

from __future__ import annotations

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

    `outstanding` maps their tags to what stands behind them; it is public for the one place on the hot path that
    settles a single tag itself.
    """

    __slots__ = ("_lowest", "last", "outstanding")

    def __init__(self) -> None:
        self.last = 0
        self.outstanding: dict[int, Entry] = {}
        #: No lower tag is outstanding: what "all up to" has to look at begins here.
        self._lowest = 1

    def issue(self, entry: Entry | None) -> int:
        """The next tag, for this delivery; None for one that needs no settling."""
        self.last += 1
        if entry is not None:
            self.outstanding[self.last] = entry
        return self.last

    def settle_one(self, tag: int) -> Entry:
        """Take the entry of a tag; raises `UnknownTag`."""
        entry = self.outstanding.pop(tag, None)
        if entry is None:
            raise UnknownTag(tag)
        return entry

    def settle_upto(self, tag: int) -> list[tuple[int, Entry]]:
        """Take all entries up to a tag, which must be outstanding, or 0 for "all"; raises `UnknownTag`."""
        outstanding = self.outstanding
        if tag and tag not in outstanding:
            raise UnknownTag(tag)
        upto = tag or self.last
        # Every tag is looked at once at most, however many acknowledgements there are.
        tags = [each for each in range(self._lowest, upto + 1) if each in outstanding]
        self._lowest = upto + 1
        return [(each, outstanding.pop(each)) for each in tags]

    def restore(self, settled: list[tuple[int, Entry]]) -> None:
        """Make settled entries outstanding again: the transaction they were settled in was rolled back."""
        for tag, entry in settled:
            self.outstanding[tag] = entry
            self._lowest = min(self._lowest, tag)

    def clear(self) -> None:
        """Forget everything outstanding (basic.recover: the upstreams deliver it anew)."""
        self.outstanding.clear()
        self._lowest = self.last + 1
