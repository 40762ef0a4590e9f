"""How many of a channel's tags are not settled: deliveries without acknowledgement, publishes without confirm.

Lives here: `Tally`.  Must not know: which frames mean what.

Tags count from 1 (section 1.8.3.9, RabbitMQ's "Publisher confirms").  What is settled beyond the first open tag is kept
as intervals: however many messages pass while one stays open, that is one interval.
"""

from __future__ import annotations


class Tally:
    """Tags of one kind on one channel."""

    __slots__ = ("_ahead", "_ends", "_settled", "_starts", "issued")

    def __init__(self) -> None:
        #: Tags handed out so far; whoever hands one out adds one.
        self.issued = 0
        #: All tags up to here are settled.
        self._settled = 0
        #: Settled intervals beyond, by their first tag and by their last one.
        self._ends: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._ahead = 0

    @property
    def open(self) -> int:
        """Tags that are not settled."""
        return self.issued - self._settled - self._ahead

    @property
    def gaps(self) -> int:
        """Settled intervals behind an open tag: what a copy costs."""
        return len(self._ends)

    def copy(self) -> Tally:
        """The same tags, to go on differently."""
        other = Tally()
        other.issued, other._settled, other._ahead = self.issued, self._settled, self._ahead
        other._ends, other._starts = self._ends.copy(), self._starts.copy()
        return other

    def settle(self, tag: int, *, multiple: bool = False) -> None:
        """This tag, with `multiple` all up to it (0: all there are).  What was never handed out is ignored.

        A tag that is settled twice makes the count wrong; a broker closes the channel for it.
        """
        if multiple:
            self._settle_up_to(tag or self.issued)
        elif tag == self._settled + 1 <= self.issued:
            self._advance(tag)
        elif self._settled < tag <= self.issued:
            self._settle_ahead(tag)

    def settle_all(self) -> None:
        """Nothing is open any more."""
        self._settle_up_to(self.issued)

    def _settle_up_to(self, tag: int) -> None:
        if not self._settled < tag <= self.issued:
            return
        for start, end in list(self._ends.items()):
            if start <= tag:
                self._remove(start, end)
                tag = max(tag, end)
        self._advance(tag)

    def _advance(self, tag: int) -> None:
        if self._ends:
            end = self._ends.get(tag + 1)
            if end is not None:
                self._remove(tag + 1, end)
                tag = end
        self._settled = tag

    def _settle_ahead(self, tag: int) -> None:
        start, end = self._starts.get(tag - 1, tag), self._ends.get(tag + 1, tag)
        if start < tag:
            self._remove(start, tag - 1)
        if end > tag:
            self._remove(tag + 1, end)
        self._ends[start] = end
        self._starts[end] = start
        self._ahead += end - start + 1

    def _remove(self, start: int, end: int) -> None:
        del self._ends[start], self._starts[end]
        self._ahead -= end - start + 1
