"""One seed from beginning to end, and what is said about it.

Lives here: `Outcome`, `simulate`, reports for people.  Must not know: how many seeds there are (``__main__.py``).
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from attrs import field, frozen

from tests.simulation.failure import Broken
from tests.simulation.world import World

#: Seconds that one seed may take of many; a loop that does not end is a failure as well.
SEED_TIMEOUT = 30
#: The same while it is shrunk, which takes several runs, and for one that somebody looks at.
SHRUNK_TIMEOUT = 10
ALONE_TIMEOUT = 120
#: Events of the trace that a report shows.
SHOWN = 60


@frozen
class Outcome:
    """What became of one seed.  `failure` is empty if everything held, else one line; `digest` is the trace's."""

    seed: int
    steps: int
    failure: str
    digest: str
    counts: dict[str, int]
    shown: str = field(repr=False)
    trace: tuple[str, ...] = field(repr=False)


def simulate(seed: int, steps: int | None = None, *, last: int | None = SHOWN, within: float | None = None) -> Outcome:
    """Run one seed; `last` is how many events of the trace are kept in case of a failure, None for all.

    `within`: one that takes more seconds fails.  It takes the process's alarm, which pytest needs for itself.
    """
    world = World(seed, steps)
    failure, error = "", ""
    try:
        with _bounded(within) if within is not None else nullcontext():
            world.run()
    except Broken as broken:
        failure = str(broken)
        cause = broken.__cause__
        error = "".join(traceback.format_exception(cause)) if cause is not None else ""
    except Exception as exception:
        failure = f"unexpected: {type(exception).__name__}: {exception}"
        error = traceback.format_exc()
    trace = tuple(world.trace.lines(last)) if failure or last is None else ()
    return Outcome(
        seed=seed,
        steps=world.options.steps,
        failure=failure,
        digest=world.trace.digest() if failure or last is None else "",
        counts=world.ledger.counts,
        shown=world.options.shown,
        trace=(*trace, *error.splitlines()),
    )


def shrunk(outcome: Outcome, *, within: float | None = None) -> Outcome:
    """The same seed with the fewest steps that still fail, if fewer do; `within` as for `simulate`, for each run."""
    best = outcome
    low, high = 0, outcome.steps
    while low < high:
        middle = (low + high) // 2
        tried = simulate(outcome.seed, middle, within=within)
        if tried.failure:
            best, high = tried, middle
        else:
            low = middle + 1
    return best


def report(outcome: Outcome) -> str:
    """A failure for people, and how to have it again."""
    steps = f" STEPS={outcome.steps}"
    return "\n".join(
        (
            f"seed {outcome.seed}: {outcome.failure}",
            f"  {outcome.shown}",
            *(f"  {line}" for line in outcome.trace),
            f"again: make simulate SEED={outcome.seed}{steps}        everything: add TRACE=all",
        )
    )


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    def too_long(number: int, frame: FrameType | None) -> None:
        stack = "".join(traceback.format_stack(frame))
        raise Broken("nothing is stuck", f"it takes longer than {seconds:g} s\n{stack}")

    before = signal.signal(signal.SIGALRM, too_long)
    # Again and again: trabbits takes what is raised in a routing strategy for the strategy's failure.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
