"""Many seeds on all cores, or one again: ``make simulate N=100000``, ``make simulate SEED=17``.

Lives here: the command line, processes, progress and summary.  Must not know: what a seed does.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.simulation.report import (
    ALONE_TIMEOUT,
    SEED_TIMEOUT,
    SHRUNK_TIMEOUT,
    Outcome,
    report,
    shrunk,
    simulate,
)

#: Seeds that a process takes at once.
BLOCK = 20
#: Seeds between collections of garbage.
COLLECTED = 40
#: Failures that are reported in full, and after how many it ends.
REPORTED = 5
FAILURES_MAX = 50
#: Seconds between lines of progress.
PROGRESS = 10.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Simulate sessions, brokers and clients."
    )
    parser.add_argument("--seed", type=int, help="this seed alone, with its trace")
    parser.add_argument("--steps", type=int, help="with --seed: so many steps instead of the seed's own")
    parser.add_argument("--trace", default="60", help="with --seed: so many events of the trace, or 'all'")
    parser.add_argument("-n", type=int, default=2000, help="how many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first one (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        last = None if options.trace == "all" else int(options.trace)
        return _one(options.seed, options.steps, last)
    return _many(range(options.first, options.first + options.n), options.jobs)


def _one(seed: int, steps: int | None, last: int | None) -> int:
    outcome = simulate(seed, steps, last=last, within=ALONE_TIMEOUT)
    if outcome.failure:
        print(report(outcome))
        return 1
    for line in outcome.trace:
        print(f"  {line}")
    digest = simulate(seed, steps, last=None, within=ALONE_TIMEOUT).digest
    print(f"seed {seed}: everything holds ({outcome.shown}); trace {digest}")
    return 0


def _many(seeds: range, jobs: int) -> int:
    started = reported = time.monotonic()
    done, failures = 0, []
    counts: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    try:
        for outcome in _outcomes(seeds, jobs):
            done += 1
            counts.update(outcome.counts)
            runs.update(outcome.counts.keys())
            if outcome.failure:
                failures.append(outcome)
                if len(failures) <= REPORTED:
                    print(report(shrunk(outcome, within=SHRUNK_TIMEOUT)), flush=True)
                elif len(failures) >= FAILURES_MAX:
                    break
            now = time.monotonic()
            if now - reported >= PROGRESS:
                reported = now
                rate = done / (now - started)
                print(f"{done} of {len(seeds)} seeds, {rate:.0f} a second, {len(failures)} failed", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    _summary(done, time.monotonic() - started, failures, counts, runs)
    return 1 if failures else 0


def _outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs <= 1:
        yield from map(_bounded, seeds)
        return
    # Ctrl-C is the parent's to deal with.
    with multiprocessing.Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap_unordered(_bounded, seeds, BLOCK)


def _bounded(seed: int) -> Outcome:
    # Everything of a seed is one knot of references: untying them now and then is enough, and a fifth faster.
    gc.disable()
    if not seed % COLLECTED:
        gc.collect()
    return simulate(seed, within=SEED_TIMEOUT)


def _summary(done: int, seconds: float, failures: list[Outcome], counts: Counter[str], runs: Counter[str]) -> None:
    print(f"\n{'':44}{'times':>12}{'in % of seeds':>16}")
    for what, times in sorted(counts.items()):
        print(f"{what:44}{times:12}{100 * runs[what] / done:16.1f}")
    print(f"\n{done} seeds in {seconds:.0f} s, {done / max(seconds, 0.001):.0f} a second; {len(failures)} failed")
    for outcome in failures:
        print(f"  SEED={outcome.seed}  {outcome.failure.splitlines()[0][:150]}")


if __name__ == "__main__":
    sys.exit(main())
