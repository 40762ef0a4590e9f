"""Token buckets: the average holds whatever happens, and names that anybody may invent fill no memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trabbits.plugins.token_buckets import Alarms, Bucket, Buckets

times = st.lists(st.floats(-5, 50), max_size=50)


@given(st.floats(0.01, 100), st.integers(1, 20), times)
def test_never_more_than_the_average_and_the_burst(rate: float, size: int, steps: list[float]) -> None:
    """A clock that goes back gives nothing away twice beyond what has passed forward."""
    now = 1000.0
    bucket = Bucket(rate, size, now)
    taken, passed = 0, 0.0
    for step in steps:
        now += step
        passed += max(0.0, step)
        taken += bucket.take(1, now)
        assert taken <= size + passed * rate + 1e-6


@given(st.floats(1, 1e6), st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
def test_who_waits_as_long_as_it_is_told_keeps_the_average(rate: float, amounts: list[int]) -> None:
    now = 0.0
    bucket = Bucket(rate, rate, now)
    for amount in amounts:
        now += bucket.owe(amount, now)
    assert now * rate + rate >= sum(amounts) * (1 - 1e-6)
    assert bucket.owe(0, now) < 1e-6 * (1 + now)


def test_full_buckets_are_forgotten_when_there_are_too_many() -> None:
    buckets = Buckets(lambda name, now: Bucket(1.0, 1.0, now), most=10)
    for number in range(10):
        assert buckets.get(str(number), 0.0).take(1, 0.0)
    assert buckets.get("0", 0.5).full(0.5) is False
    buckets.get("late", 20.0)
    assert len(buckets) == 1


def test_there_is_a_bound_even_if_none_is_full() -> None:
    buckets = Buckets(lambda name, now: Bucket(0.001, 1.0, now), most=10)
    for number in range(1000):
        buckets.get(str(number), 0.0).take(1, 0.0)
        assert len(buckets) <= 10
    assert not buckets.get("999", 0.0).take(1, 0.0)


def test_alarms_come_once_in_a_while_for_each_name() -> None:
    alarms = Alarms(10.0, most=3)
    due = [now for now in (0.0, 5.0, 9.9, 10.0, 15.0, 20.1) if alarms.due("a", now)]
    assert due == [0.0, 10.0, 20.1]
    assert alarms.due("b", 20.1)
    for number in range(100):
        alarms.due(str(number), 21.0)
        assert len(alarms._said) <= 3
