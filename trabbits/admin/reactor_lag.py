"""How late the reactor is.

Lives here: `ReactorLag`, a timer that looks at the clock when it fires.  Must not know: what kept the reactor busy.

Whatever a chunk of octets waits before it is read is at least this: one number for "is this process overloaded".
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime

from trabbits.durations import Durations

#: Seconds between two looks.
INTERVAL = 0.5
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ReactorLag:
    """`late` is how long after its time the timer fired, every `INTERVAL` seconds between `start` and `stop`."""

    def __init__(self, clock: IReactorTime) -> None:
        self.late = Durations(BOUNDS)
        self._clock = clock
        self._due = 0.0
        self._timer: Any = None

    def start(self) -> None:
        """Look from now on."""
        self._due = self._clock.seconds() + INTERVAL
        self._timer = self._clock.callLater(INTERVAL, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.late.add(self._clock.seconds() - self._due)
        self.start()
