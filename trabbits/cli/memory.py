"""The garbage collector of a process that only runs the proxy.

Lives here: `spare_the_collector`.  Must not know: what runs.
"""

from __future__ import annotations

import gc
from typing import Any


def spare_the_collector(reactor: Any) -> None:
    """Once everything has started, take modules and the like out of what full collections look at.

    A full collection stops the proxy for as long as it takes to look at every object: 16 ms for the 75 000 that are
    there before the first client comes.  None of them is ever garbage.
    """

    def freeze() -> None:
        gc.collect()
        gc.freeze()

    reactor.callWhenRunning(freeze)
