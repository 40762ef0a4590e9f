"""How fast counters grow.

Lives here: `Rates`.  Must not know: what is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Seconds over which a rate is taken: long enough not to jump, short enough to follow.
SPAN = 6.0


class Rates:
    """Rates per second of named counters over the last seconds.  A counter that falls began anew (a restart)."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, dict[str, float]]] = []

    def note(self, now: float, counters: Mapping[str, object]) -> None:
        """The counters as they are now."""
        sample = {name: float(value) for name, value in counters.items() if isinstance(value, (int, float))}
        if self._samples:
            at, last = self._samples[-1]
            if now < at or any(value < last.get(name, value) for name, value in sample.items()):
                self._samples.clear()
        self._samples.append((now, sample))
        while len(self._samples) > 2 and now - self._samples[1][0] >= SPAN:
            del self._samples[0]

    def of(self, name: str) -> float | None:
        """The rate of this counter; None as long as it was seen only once."""
        if len(self._samples) < 2:
            return None
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        if name not in last or ended <= began:
            return None
        # A counter that wasn't there began at nothing.
        return (last[name] - first.get(name, 0.0)) / (ended - began)
