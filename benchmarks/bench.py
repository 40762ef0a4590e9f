#!/usr/bin/env python3
"""Measures trabbits against RabbitMQ itself and against HAProxy, interleaved, and prints ratios.

What lives here: the command line, the plan of a run, and progress. See README.md for the method.
"""

from __future__ import annotations

import argparse
import gc
import json
import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial, reduce
from pathlib import Path

from attrs import frozen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.clients import BenchError
from benchmarks.figures import NOISE_LIMIT, Figures, figures_of, strangers_share
from benchmarks.load import Measurement, RoundTrips, Stream
from benchmarks.report import Results, Scenario, as_json, insert, machine_facts, render
from benchmarks.targets import Target, Targets, haproxy_version

SCENARIOS = (
    Scenario("stream-100", "Streaming, 100-byte messages", 100),
    Scenario("stream-100-lazy", "Streaming, 100-byte messages, reader woken every 32 KiB", 100, low_water=32 * 1024),
    Scenario("stream-4096", "Streaming, 4-KiB messages", 4096),
    Scenario(
        "stream-headers",
        "Streaming, 100-byte messages with three headers",
        100,
        headers=True,
        targets=("direct", "fan", "by-header"),
    ),
    Scenario("trips-1", "Round trips, 1 connection, 100-byte messages", 100, 1, weight=2.0),
    Scenario("trips-10", "Round trips, 10 connections, 100-byte messages", 100, 10),
)
TARGETS = ("direct", "haproxy", "plain", "unobserved", "fan", "by-header")
SLICE = 0.05
"""Seconds of round trips with one target before it is the next one's turn."""
WARM_UP = 0.25


ATTEMPTS = 4


@frozen
class Plan:
    """How long to measure: rounds, seconds per target and scenario in each, seconds spent on repetitions at most."""

    rounds: int
    seconds: float
    patience: float


FULL = Plan(rounds=8, seconds=1.0, patience=60.0)
QUICK = Plan(rounds=3, seconds=0.4, patience=4.0)


class Bench:
    """One run over all scenarios and targets. A target that fails in a scenario is left out of its later rounds."""

    def __init__(self, targets: Targets, scenarios: Sequence[Scenario], plan: Plan, results: Results) -> None:
        self._targets = targets
        self._scenarios = scenarios
        self._plan = plan
        self._results = results
        self._failed: set[tuple[str, str]] = set()
        self._patience = plan.patience
        self._cores = os.cpu_count() or 1

    def run(self) -> None:
        for number in range(self._plan.rounds):
            for scenario in self._scenarios:
                self._round(number, scenario)

    def _round(self, number: int, scenario: Scenario) -> None:
        concerned = [each for each in self._targets.available if each.name in scenario.targets]
        usable = [each for each in concerned if (scenario.name, each.name) not in self._failed]
        # Nobody is always first: order is a bias, too.
        start = number % max(1, len(usable))
        order = usable[start:] + usable[:start]
        measured = self._trips(scenario, order) if scenario.connections else self._stream(scenario, order)
        figures = {name: figures_of(each, self._cores) for name, each in measured.items()}
        self._results.rounds.setdefault(scenario.name, []).append(figures)
        progress(f"round {number + 1}/{self._plan.rounds} {scenario.name}: {summary(figures)}")

    def _quietly(self, measure: Callable[[float], Measurement], seconds: float) -> Measurement:
        """Measure; again, as long as patience lasts, when somebody else used the machine meanwhile."""
        result = measure(seconds)
        for _ in range(ATTEMPTS - 1):
            if self._patience <= 0 or self._is_quiet(result):
                break
            self._patience -= seconds
            result = measure(seconds)
        return result

    def _stream(self, scenario: Scenario, order: Sequence[Target]) -> dict[str, Measurement]:
        measured = {}
        for target in order:
            try:
                with ExitStack() as stack:
                    stream = Stream(target.port, scenario.size, scenario.low_water, headers=scenario.headers)
                    stack.callback(stream.close)
                    run = partial(stream.run, WARM_UP, clocks=target.clocks)
                    measured[target.name] = self._quietly(run, self._plan.seconds * scenario.weight)
            except (BenchError, OSError) as error:
                self._fail(scenario, target, error)
        return measured

    def _trips(self, scenario: Scenario, order: Sequence[Target]) -> dict[str, Measurement]:
        """All targets are connected at once and take turns every SLICE: what they differ by is small."""
        slices = max(1, round(self._plan.seconds * scenario.weight / SLICE))
        with ExitStack() as stack:
            loads = self._connect(scenario, order, stack)
            cycles = [self._cycle(scenario, order, loads) for _ in range(slices + 1)][1:]  # the first one warms up
        # A disturbed slice spoils the comparison with its neighbours, so the whole cycle goes.
        calm = [each for each in cycles if all(self._is_quiet(result) for result in each.values())] or cycles
        names = set(loads) - {name for failed, name in self._failed if failed == scenario.name}
        return {target.name: sum_up(each[target.name] for each in calm) for target in order if target.name in names}

    def _connect(self, scenario: Scenario, order: Sequence[Target], stack: ExitStack) -> dict[str, RoundTrips]:
        loads = {}
        for target in order:
            try:
                loads[target.name] = RoundTrips(target.port, scenario.size, scenario.connections)
                stack.callback(loads[target.name].close)
            except (BenchError, OSError) as error:
                self._fail(scenario, target, error)
        return loads

    def _cycle(
        self, scenario: Scenario, order: Sequence[Target], loads: Mapping[str, RoundTrips]
    ) -> dict[str, Measurement]:
        """One slice of every target that has not failed."""
        results = {}
        for target in order:
            if (scenario.name, target.name) in self._failed:
                continue
            try:
                results[target.name] = loads[target.name].run(SLICE, target.clocks)
            except BenchError as error:
                self._fail(scenario, target, error)
        return results

    def _is_quiet(self, measurement: Measurement) -> bool:
        return strangers_share(measurement, self._cores) <= NOISE_LIMIT

    def _fail(self, scenario: Scenario, target: Target, error: Exception) -> None:
        self._failed.add((scenario.name, target.name))
        self._results.notes.append(f"{target.title}, {scenario.name}: {error}")
        progress(f"{target.name} failed in {scenario.name}: {error}")


def sum_up(slices: Iterable[Measurement]) -> Measurement:
    """All slices of a target in a round as one measurement."""
    return reduce(operator.add, slices)


def summary(round_figures: dict[str, Figures]) -> str:
    """One line of progress."""
    parts = []
    for name, figures in round_figures.items():
        latency = "" if figures.p50 is None else f" p50 {figures.p50:.0f} µs"
        proxy = "" if figures.proxy is None else f" cpu {figures.proxy:.2f} µs"
        parts.append(f"{name} {figures.rate:,.0f}/s{latency}{proxy} others {figures.strangers:.0%}")
    return "; ".join(parts)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute at most, and less certain")
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}, quick {QUICK.rounds}")
    parser.add_argument("--seconds", type=float, help="per target and scenario in every round")
    names = [scenario.name for scenario in SCENARIOS] + list(TARGETS)
    parser.add_argument("--only", metavar="NAME", action="append", choices=names, help="; ".join(names))
    parser.add_argument("--nodes", metavar="PORT,PORT", help="use two nodes that run on this machine")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="put the report between the marks in this file")
    return parser.parse_args(argv)


def main() -> int:
    options = arguments()
    default = QUICK if options.quick else FULL
    plan = Plan(options.rounds or default.rounds, options.seconds or default.seconds, default.patience)
    only = set(options.only or ())
    scenarios = [each for each in SCENARIOS if each.name in only or not only & {every.name for every in SCENARIOS}]
    nodes = [int(port) for port in options.nodes.split(",")] if options.nodes else []
    started = time.monotonic()
    with Targets(nodes, lambda name: name in only or not only & set(TARGETS)) as targets:
        facts = machine_facts(targets.rabbitmq_version, haproxy_version())
        facts["run"] = f"{plan.rounds} rounds of {plan.seconds:g} s per target and scenario, {time.strftime('%F')}"
        titles = {each.name: each.title for each in targets.available}
        results = Results(facts, titles, notes=list(targets.missing.values()))
        for note in results.notes:
            progress(f"skipped: {note}")
        # A collection in the middle of a measurement would be the generator's noise in somebody's figure.
        gc.disable()
        Bench(targets, scenarios, plan, results).run()
    text = render(results, scenarios)
    print(text)
    progress(f"took {time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(as_json(results), indent=1) + "\n")
    if options.markdown:
        insert(options.markdown, text)
    # Without HAProxy the rest is still worth something; anything else that could not be measured is a failure.
    return 1 if set(results.notes) - {targets.missing.get("haproxy")} else 0


if __name__ == "__main__":
    sys.exit(main())
