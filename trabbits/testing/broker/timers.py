"""Things to be done at a time of the broker's clock.

Lives here: `Timers`.  Must not know: what is done; which clock it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timer:
    """Something to be done, unless it is cancelled."""

    __slots__ = ("act", "at")

    def __init__(self, at: float, act: Callable[[], None]) -> None:
        self.at = at
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None


class Timers:
    """Timers in order of time, and in order of their making where times are the same."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()

    def at(self, when: float, act: Callable[[], None]) -> Timer:
        timer = Timer(when, act)
        heapq.heappush(self._heap, (when, next(self._numbers), timer))
        return timer

    def next(self) -> float | None:
        """When something is to be done next."""
        heap = self._heap
        while heap and heap[0][2].act is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Do what is due, not what becomes due by that."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        for timer in due:
            act, timer.act = timer.act, None
            if act is not None:
                act()
