"""Publisher confirms over several links: one gapless sequence for the client.

The client counts its publishes on a channel from 1 (RabbitMQ, "Publisher confirms"); every link counts those that
went to it.  Lives here: mapping a link's tags back to the client's, and saying as much with as few frames as can be.
Must not know: frames.
"""

from __future__ import annotations

from collections.abc import Iterable


class LinkConfirms:
    """The publishes on one channel of one link that are not confirmed yet."""

    __slots__ = ("_last", "_lowest", "_open")

    def __init__(self) -> None:
        self._last = 0
        #: No lower tag of the link's is open.
        self._lowest = 1
        #: The link's tag -> the client's.
        self._open: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def published(self, client_tag: int) -> None:
        """The publish with this tag of the client's went to the link."""
        self._last += 1
        self._open[self._last] = client_tag

    def confirmed(self, link_tag: int, multiple: bool) -> list[int]:
        """The client's tags that a confirm of the link is about, ascending; none for a tag that means nothing."""
        if not multiple:
            tag = self._open.pop(link_tag, None)
            return [] if tag is None else [tag]
        upto = min(link_tag or self._last, self._last)
        tags = [each for each in range(self._lowest, upto + 1) if each in self._open]
        self._lowest = max(self._lowest, upto + 1)
        return [self._open.pop(each) for each in tags]


class Confirms:
    """The client's sequence on one channel."""

    __slots__ = ("_prefix", "_rejected", "_settled", "broadcasts", "early", "last", "started")

    def __init__(self) -> None:
        #: Whether the client knows that it gets confirms: nothing is confirmed before confirm.select-ok.
        self.started = False
        #: Settled before: (confirmed, rejected).
        self.early: list[tuple[list[int], list[int]]] = []
        #: The tag of the last publish.
        self.last = 0
        #: Every tag up to this one is settled.
        self._prefix = 0
        #: The settled tags above.
        self._settled = _Ranges()
        #: For publishes that went to several links: how many have not confirmed yet, and which were rejected by one.
        self.broadcasts: dict[int, int] = {}
        self._rejected: set[int] = set()

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
        self.broadcasts[tag] = links

    def due(self, tags: Iterable[int], *, rejected: bool = False) -> tuple[list[int], list[int]]:
        """Those of `tags` that are settled by now, as (confirmed, rejected).

        A broadcast is settled with the confirm of its last link, and rejected if any link did.
        """
        if not self.broadcasts:
            return ([], list(tags)) if rejected else (list(tags), [])
        due: tuple[list[int], list[int]] = ([], [])
        for tag in tags:
            left = self.broadcasts.get(tag, 1) - 1
            if left and rejected:
                self._rejected.add(tag)
            if left:
                self.broadcasts[tag] = left
                continue
            self.broadcasts.pop(tag, None)
            due[rejected or tag in self._rejected].append(tag)
            self._rejected.discard(tag)
        return due

    def settle(self, tags: list[int]) -> list[tuple[int, bool]]:
        """Settle tags (ascending); returns the confirms to send, as (tag, multiple).

        ``multiple`` is used for what completes the confirmed prefix, so that it never covers an open tag.
        """
        before = self._prefix
        for tag in tags:
            if tag == self._prefix + 1:
                self._prefix = self._settled.take_from(tag + 1)
            else:
                self._settled.add(tag)
        prefix = self._prefix
        in_prefix = [tag for tag in tags if before < tag <= prefix]
        confirms: list[tuple[int, bool]] = []
        if in_prefix:
            confirms.append((in_prefix[-1], len(in_prefix) > 1))
        confirms += [(tag, False) for tag in tags if tag > prefix]
        return confirms


class _Ranges:
    """A set of numbers that is mostly runs: behind one publish that is never confirmed there may be millions."""

    __slots__ = ("_count", "_first_of", "_last_of")

    def __init__(self) -> None:
        self._count = 0
        #: The first of a run -> its last, and the other way round.
        self._last_of: dict[int, int] = {}
        self._first_of: dict[int, int] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, number: int) -> None:
        """Add a number that is not in it."""
        first = self._first_of.pop(number - 1, number)
        last = self._last_of.pop(number + 1, number)
        self._last_of[first] = last
        self._first_of[last] = first
        self._count += 1

    def take_from(self, number: int) -> int:
        """Take out the run that begins with this number; returns its last, or the number before if there is none."""
        last = self._last_of.pop(number, None)
        if last is None:
            return number - 1
        del self._first_of[last]
        self._count -= last - number + 1
        return last
