"""The garbage collector of a process that only runs the proxy.

Lives here: `hold_the_collector`, `spare_the_collector`.  Must not know: what runs.
"""

from __future__ import annotations

import gc
from typing import Any


def hold_the_collector() -> None:
    """Collect no garbage until everything has started (`spare_the_collector`), or the process ends before that.

    What is imported and built until then stays, and looking at all of it again and again took a sixth of the start.
    """
    gc.disable()


def spare_the_collector(reactor: Any) -> None:
    """Once everything has started, take modules and the like out of what full collections look at.

    A full collection stops the proxy for as long as it takes to look at every object: 16 ms for the 75 000 that are
    there before the first client comes.  Nearly none of them is ever garbage; those that are, less than 1 MB, are kept:
    to find them would take 100 ms, in which the first clients wait.
    """

    def freeze() -> None:
        gc.freeze()
        gc.enable()

    reactor.callWhenRunning(freeze)
