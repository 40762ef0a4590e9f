"""Virtual time.

Lives here: `Clock`, whose time passes when somebody says so, and its calls.  Must not know: what is called.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Call:
    """A call that is due at a time."""

    __slots__ = ("act", "at", "order")

    def __init__(self, at: float, order: int, act: Callable[[], None]) -> None:
        self.at = at
        self.order = order
        self.act: Callable[[], None] | None = act

    def __lt__(self, other: Call) -> bool:
        return (self.at, self.order) < (other.at, other.order)

    def cancel(self) -> None:
        self.act = None


class Clock:
    """The time of one run, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[Call] = []
        self._made = 0

    def seconds(self) -> float:
        return self.now

    def later(self, seconds: float, act: Callable[[], None]) -> Call:
        self._made += 1
        call = Call(self.now + seconds, self._made, act)
        heapq.heappush(self._calls, call)
        return call

    def next(self) -> float | None:
        """When something is due."""
        calls = self._calls
        while calls and calls[0].act is None:
            heapq.heappop(calls)
        return calls[0].at if calls else None

    def pass_until(self, when: float) -> None:
        """Time passes; what becomes due is called in order."""
        while (due := self.next()) is not None and due <= when:
            call = heapq.heappop(self._calls)
            self.now = max(self.now, call.at)
            act, call.act = call.act, None
            if act is not None:
                act()
        self.now = max(self.now, when)


class BrokerClock:
    """The time as a broker reads it; knows whose it is."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self.name = name

    def seconds(self) -> float:
        return self._clock.now
