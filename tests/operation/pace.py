"""How fast clients were told to leave: so many at once and a steady rate behind them, measured from a list of times.

The times are those at which a client noticed, which a busy machine may put off at any moment, so one list alone proves
little about a pace; `typical` is for several.  `ahead` holds for each, because nobody notices anything too early.

Must not know: where the times come from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from statistics import median

from attrs import astuple, frozen

#: Seconds within which a client notices what it is told at once.
AT_ONCE = 0.1


@frozen
class Pace:
    """What a list of times amounts to."""

    #: How many at once: those of the first moment, without the share that the rate has in it.
    burst: float
    #: How many per second behind a burst of the wanted size.
    rate: float
    #: From the first to the last.
    seconds: float

    @classmethod
    def of(cls, times: Sequence[float], burst_size: int) -> Pace:
        """Of ordered times, of which there are more than `burst_size`."""
        seconds = times[-1] - times[0]
        rate = (len(times) - burst_size) / seconds
        return cls(bisect_right(times, times[0] + AT_ONCE) - rate * AT_ONCE, rate, seconds)

    @classmethod
    def typical(cls, paces: Sequence[Pace]) -> Pace:
        """The median of each figure."""
        return cls(*(median(figures) for figures in zip(*map(astuple, paces), strict=True)))

    def __str__(self) -> str:
        return f"{self.burst:.0f} at once, then {self.rate:.1f} per second, {self.seconds:.2f} s in all"


def ahead(times: Sequence[float], began: float, burst_size: int, rate: float) -> float:
    """How many more than allowed had been told, in the worst moment; not above 0 if the pace was always kept.

    `began` is a time before the first could have been told; `times` are in order.
    """
    return max(number - burst_size - rate * (time - began) for number, time in enumerate(times, 1))
