"""`Pace` finds what a list of times was made of."""

from __future__ import annotations

import random

import pytest

from tests.operation.pace import Pace, ahead


@pytest.mark.parametrize(("burst", "rate"), [(75, 125), (10, 100), (1, 20)])
def test_finds_burst_and_rate(burst: int, rate: int) -> None:
    """Also when clients hear of it somewhat late, now and then."""
    chance = random.Random(1)
    late = [chance.uniform(0, 0.02) for _ in range(300)]
    times = [100 + max(0, number - burst + 1) / rate + late[number] for number in range(300)]
    pace = Pace.of(sorted(times), burst)
    assert pace.rate == pytest.approx(rate, rel=0.05)
    assert pace.burst == pytest.approx(burst, abs=0.05 * rate)
    assert pace.burst_seconds <= 0.02
    assert ahead(sorted(times), 100, burst, rate) <= 1e-6


@pytest.mark.parametrize(("burst", "rate"), [(150, 125), (75, 160), (75, 90), (40, 125)])
def test_tells_others_apart(burst: int, rate: int) -> None:
    """What differs by more than a fifth from 75 at once and 125 per second is seen."""
    times = [max(0, number - burst + 1) / rate for number in range(300)]
    pace = Pace.of(times, 75)
    assert abs(pace.rate / 125 - 1) > 0.2 or abs(pace.burst / 75 - 1) > 0.2
    assert (ahead(times, 0, 75, 125) > 5) is (burst > 75 or rate > 125)


def test_one_disturbed_measurement_does_not_count() -> None:
    """The typical pace is that of the others."""
    even = [max(0, number - 74) / 125 for number in range(300)]
    late = [max(time, 0.4) for time in even]
    typical = Pace.typical([Pace.of(times, 75) for times in (even, late, even)])
    assert typical.rate == pytest.approx(125)
    assert typical.burst == pytest.approx(75)
