"""How long something took, time and again: plain counts that cost next to nothing to keep.

Lives here: `Durations`.  Must not know: what is measured, or who reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Durations:
    """Counts of durations by size: `counts[i]` of those up to `bounds[i]` seconds, the last one of longer ones."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        #: Seconds, all together.
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more.  A clock that was set back counts as no time at all."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def include(self, other: Durations) -> None:
        """All of `other`, which has the same bounds."""
        assert self.bounds == other.bounds
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    @property
    def number(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def __repr__(self) -> str:
        return f"<Durations: {self.number}, {self.total:g} s>"
