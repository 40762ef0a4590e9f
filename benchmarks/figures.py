"""Figures out of measurements: per message, per round, ratios within a round, and the targets to reach.

What lives here: arithmetic only. Every ratio is computed within one round and the median taken over the rounds,
because a machine's speed drifts more between rounds than targets differ. What it must not know: how a
measurement came about, and how figures are shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from attrs import frozen

from benchmarks.load import Measurement

NOISE_LIMIT = 0.15
"""The share of the machine used by strangers above which a round is left out."""
ENOUGH_ROUNDS = 3
"""So many quiet rounds make a verdict."""


@frozen
class Figures:
    """One target in one round. CPU in microseconds per message, shares of one core or of the machine."""

    rate: float
    proxy: float | None
    brokers: float
    generator: float
    generator_share: float
    strangers: float
    p50: float | None
    p99: float | None


def figures_of(measurement: Measurement, cores: int) -> Figures:
    """The figures of one measurement on a machine with so many cores."""
    cpu, count = measurement.cpu, max(1, measurement.messages)
    latencies = measurement.latencies
    return Figures(
        rate=measurement.messages / measurement.seconds,
        proxy=cpu["proxy"] / count * 1e6 if "proxy" in cpu else None,
        brokers=cpu["brokers"] / count * 1e6,
        generator=cpu["generator"] / count * 1e6,
        generator_share=cpu["generator"] / measurement.seconds,
        strangers=strangers_share(measurement, cores),
        # Of the slices' medians the median: pooled, the fast slices would count more because more happens in them.
        p50=statistics.median(statistics.median(each) for each in latencies) / 1000 if latencies else None,
        p99=percentile(sorted(chain.from_iterable(latencies)), 99),
    )


def strangers_share(measurement: Measurement, cores: int) -> float:
    """The share of the machine that was used by processes with no part in the measurement."""
    cpu = measurement.cpu
    known = sum(used for role, used in cpu.items() if role != "machine")
    return max(0.0, cpu["machine"] - known) / (measurement.seconds * cores)


def percentile(ordered: Sequence[int], percent: int) -> float | None:
    """A percentile in microseconds of ordered nanoseconds; None of nothing."""
    return ordered[len(ordered) * percent // 100] / 1000 if ordered else None


Round = Mapping[str, Figures]
"""The figures of all targets in one round of one scenario."""
Pick = Callable[[Round], float | None]
"""A figure or ratio of one round; None when a target is missing in it."""


@frozen
class Spread:
    """The median over the rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """Median and extremes of what is there."""
    found = [value for value in values if value is not None]
    return Spread(statistics.median(found), min(found), max(found)) if found else None


def quiet(rounds: Sequence[Round]) -> tuple[list[Round], bool]:
    """The rounds in which nobody else used much of the machine (all when there are none), and whether they suffice."""
    calm = [each for each in rounds if all(figures.strangers <= NOISE_LIMIT for figures in each.values())]
    return calm or list(rounds), len(calm) >= min(ENOUGH_ROUNDS, len(rounds))


def figure(target: str, name: str) -> Pick:
    """One figure of one target."""

    def pick(each: Round) -> float | None:
        value = getattr(each[target], name) if target in each else None
        return None if value is None else float(value)

    return pick


def ratio(name: str, target: str, reference: str) -> Pick:
    """A figure of one target as a multiple of another's."""
    over, under = figure(target, name), figure(reference, name)

    def pick(each: Round) -> float | None:
        numerator, denominator = over(each), under(each)
        return None if numerator is None or not denominator else numerator / denominator

    return pick


def more(name: str, target: str, reference: str) -> Pick:
    """By how much a figure of one target is larger than another's."""
    of_target, of_reference = figure(target, name), figure(reference, name)

    def pick(each: Round) -> float | None:
        large, small = of_target(each), of_reference(each)
        return None if large is None or small is None else large - small

    return pick


def added(target: str) -> Pick:
    """Microseconds of median latency that a target adds to that of the broker alone."""
    with_it, without = figure(target, "p50"), figure("direct", "p50")

    def pick(each: Round) -> float | None:
        total, bare = with_it(each), without(each)
        return None if total is None or bare is None else total - bare

    return pick


def added_ratio(target: str, reference: str) -> Pick:
    """What a target adds to the median latency, as a multiple of what another adds."""
    over, under = added(target), added(reference)

    def pick(each: Round) -> float | None:
        numerator, denominator = over(each), under(each)
        # A proxy that adds nothing is a disturbed round, not an infinitely good one.
        return None if numerator is None or denominator is None or denominator <= 0 else numerator / denominator

    return pick


@frozen
class Goal:
    """A ratio, or a difference, that the project promises."""

    title: str
    scenario: str
    pick: Pick
    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Whether what was measured is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


GOALS = (
    Goal("streaming 100 B, plain of direct", "stream-100", ratio("rate", "plain", "direct"), 0.80, True),
    Goal("streaming 4 KiB, plain of direct", "stream-4096", ratio("rate", "plain", "direct"), 0.80, True),
    Goal("proxy CPU per 100 B message, plain : HAProxy", "stream-100", ratio("proxy", "plain", "haproxy"), 3.0, False),
    Goal("p50 added, 1 connection, plain : HAProxy", "trips-1", added_ratio("plain", "haproxy"), 2.5, False),
    Goal("streaming 100 B, plain of unobserved", "stream-100", ratio("rate", "plain", "unobserved"), 0.97, True),
    Goal("streaming 4 KiB, plain of unobserved", "stream-4096", ratio("rate", "plain", "unobserved"), 0.97, True),
    Goal("streaming 100 B, fan of plain", "stream-100", ratio("rate", "fan", "plain"), 0.60, True),
    Goal("streaming 4 KiB, fan of plain", "stream-4096", ratio("rate", "fan", "plain"), 0.60, True),
    Goal("proxy CPU µs more by header", "stream-headers", more("proxy", "by-header", "fan"), 2.0, False),
)
