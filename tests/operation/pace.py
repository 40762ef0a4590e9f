"""How fast clients were told to leave: a burst at once and a steady rate behind it, measured from a list of times.

The times are those at which a client noticed, which a busy machine may put off at any moment, so one list alone proves
little about a pace; `typical` is for several.  `ahead` holds for each, because nobody notices anything too early.

Must not know: where the times come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import linear_regression, median

from attrs import astuple, frozen


@frozen
class Pace:
    """What `times` amount to, if `burst` go at once and `rate` per second follow."""

    #: The line through all times behind the burst: how many per second, and how many before them all.
    rate: float
    burst: float
    #: How long the burst took.
    burst_seconds: float
    #: From the first to the last.
    seconds: float

    @classmethod
    def of(cls, times: Sequence[float], burst_size: int) -> Pace:
        """Of ordered times, of which there are more than `burst_size`."""
        began = times[0]
        steady = [time - began for time in times[burst_size:]]
        rate, burst = linear_regression(steady, range(burst_size + 1, len(times) + 1))
        return cls(rate, burst, times[burst_size - 1] - began, times[-1] - began)

    @classmethod
    def typical(cls, paces: Sequence[Pace]) -> Pace:
        """The median of each figure."""
        return cls(*(median(figures) for figures in zip(*map(astuple, paces), strict=True)))

    def __str__(self) -> str:
        return (
            f"{self.burst:.1f} in {self.burst_seconds * 1000:.0f} ms, then {self.rate:.1f}/s, "
            f"{self.seconds:.2f} s in all"
        )


def ahead(times: Sequence[float], began: float, burst_size: int, rate: float) -> float:
    """How many more than allowed had been told, in the worst moment; not above 0 if the pace was always kept.

    `began` is a time before the first could have been told; `times` are in order.
    """
    return max(number - burst_size - rate * (time - began) for number, time in enumerate(times, 1))
