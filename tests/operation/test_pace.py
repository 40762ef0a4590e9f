"""`Pace` finds what a list of times was made of."""

from __future__ import annotations

import random

import pytest

from tests.operation.pace import Pace, ahead


def times_of(burst: int, rate: float, count: int = 300) -> list[float]:
    """So many at once, the others at a steady rate."""
    return [max(0, number - burst + 1) / rate for number in range(count)]


@pytest.mark.parametrize(("burst", "rate"), [(75, 125), (50, 200), (100, 40)])
def test_finds_burst_and_rate(burst: int, rate: int) -> None:
    """Also when clients hear of it somewhat late, now and then."""
    chance = random.Random(1)
    times = sorted(100 + time + chance.uniform(0, 0.02) for time in times_of(burst, rate))
    pace = Pace.of(times, burst)
    assert pace.rate == pytest.approx(rate, rel=0.05)
    assert pace.burst == pytest.approx(burst, rel=0.1)
    assert ahead(times, 100, burst, rate) <= 1e-6


@pytest.mark.parametrize(("burst", "rate"), [(150, 125), (100, 111), (75, 160), (75, 90), (40, 125), (1, 165)])
def test_tells_others_apart(burst: int, rate: int) -> None:
    """What differs by more than a fifth from 75 at once and 125 per second is seen."""
    times = times_of(burst, rate)
    pace = Pace.of(times, 75)
    assert abs(pace.rate / 125 - 1) > 0.2 or abs(pace.burst / 75 - 1) > 0.2
    assert (ahead(times, 0, 75, 125) > 5) is (burst > 75 or (burst, rate) == (75, 160))


def test_one_disturbed_measurement_does_not_count() -> None:
    """The typical pace is that of the others."""
    even = times_of(75, 125)
    late = [0.0, *(max(time, 0.4) for time in even[1:-1]), even[-1] + 2]
    typical = Pace.typical([Pace.of(times, 75) for times in (even, late, even)])
    assert typical == Pace.of(even, 75)
