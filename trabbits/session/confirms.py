"""Publisher confirms over several links: one gapless sequence for the client.

The client counts its publishes on a channel from 1 (RabbitMQ, "Publisher confirms"); every link counts those that
went to it.  Lives here: mapping a link's tags back to the client's, and saying as much with as few frames as can be.
Must not know: frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class LinkConfirms:
    """The publishes on one channel of one link that are not confirmed yet."""

    __slots__ = ("_first", "_sequence")

    def __init__(self) -> None:
        #: The link's tag of the first entry of `_sequence`.
        self._first = 1
        #: The client's tags in the order of the link's; None where confirmed out of order.
        self._sequence: deque[int | None] = deque()

    def __len__(self) -> int:
        return len(self._sequence)

    def published(self, client_tag: int) -> None:
        """The publish with this tag of the client's went to the link."""
        self._sequence.append(client_tag)

    def confirmed(self, link_tag: int, multiple: bool) -> list[int]:
        """The client's tags that a confirm of the link is about, ascending; none for a tag that means nothing."""
        sequence = self._sequence
        place = link_tag - self._first
        if multiple:
            count = len(sequence) if link_tag == 0 else min(place + 1, len(sequence))
            found = [sequence.popleft() for _ in range(count)]
            self._first += max(count, 0)
        elif 0 <= place < len(sequence):
            found = [sequence[place]]
            sequence[place] = None
        else:
            return []
        while sequence and sequence[0] is None:
            sequence.popleft()
            self._first += 1
        return [tag for tag in found if tag is not None]


class Confirms:
    """The client's sequence on one channel."""

    __slots__ = ("_broadcasts", "_prefix", "_settled", "early", "last", "started")

    def __init__(self) -> None:
        #: Whether the client knows that it gets confirms: nothing is confirmed before confirm.select-ok.
        self.started = False
        #: Settled before: (tags, whether they were rejected).
        self.early: list[tuple[list[int], bool]] = []
        #: The tag of the last publish.
        self.last = 0
        #: Every tag up to this one is settled.
        self._prefix = 0
        #: The settled tags above.
        self._settled: set[int] = set()
        #: For publishes that went to several links: how many have not confirmed yet.
        self._broadcasts: dict[int, int] = {}

    @property
    def unconfirmed(self) -> int:
        """How many publishes the client waits for."""
        return self.last - self._prefix - len(self._settled)

    def published(self) -> int:
        """Count one publish; returns its tag."""
        self.last += 1
        return self.last

    def broadcast(self, tag: int, links: int) -> None:
        """The publish with this tag went to so many links: confirmed once all have."""
        self._broadcasts[tag] = links

    def due(self, tags: Iterable[int]) -> list[int]:
        """Those of `tags` that are settled by now: a broadcast only with its last confirm."""
        if not self._broadcasts:
            return list(tags)
        due = []
        for tag in tags:
            left = self._broadcasts.get(tag)
            if left is None:
                due.append(tag)
            elif left > 1:
                self._broadcasts[tag] = left - 1
            else:
                del self._broadcasts[tag]
                due.append(tag)
        return due

    def settle(self, tags: list[int]) -> list[tuple[int, bool]]:
        """Settle tags (ascending); returns the confirms to send, as (tag, multiple).

        ``multiple`` is used for what completes the confirmed prefix, so that it never covers an open tag.
        """
        settled = self._settled
        settled.update(tags)
        before = self._prefix
        prefix = before
        while prefix + 1 in settled:
            prefix += 1
            settled.remove(prefix)
        self._prefix = prefix
        in_prefix = [tag for tag in tags if before < tag <= prefix]
        confirms: list[tuple[int, bool]] = []
        if in_prefix:
            confirms.append((in_prefix[-1], len(in_prefix) > 1))
        confirms += [(tag, False) for tag in tags if tag > prefix]
        return confirms
