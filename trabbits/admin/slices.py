"""Long work in the reactor's thread, a slice at a time, so that nobody has to wait for it.

Lives here: `in_slices`.  Must not know: what is worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, TypeVar

from twisted.internet.task import deferLater

#: Seconds that a slice takes.
SLICE = 0.005
#: Items between two looks at the time.
STEP = 8

T = TypeVar("T")
R = TypeVar("R")


async def in_slices(
    items: Iterable[T], work: Callable[[T], R], reactor: Any, now: Callable[[], float] = perf_counter
) -> list[R]:
    """`work` done with every item; in between, the reactor gets on with everything else."""
    results: list[R] = []
    until = now() + SLICE
    for count, item in enumerate(items, 1):
        results.append(work(item))
        if count % STEP == 0 and now() > until:
            await deferLater(reactor, 0)
            until = now() + SLICE
    return results
