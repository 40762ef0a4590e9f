"""The garbage collector of a process that only runs the proxy."""

from __future__ import annotations

import subprocess
import sys

#: In a process of its own: other tests collect garbage.
CODE = """
import gc
from trabbits.cli.memory import hold_the_collector, spare_the_collector

class Reactor:
    def callWhenRunning(self, function):
        self.later = function

reactor = Reactor()
hold_the_collector()
spare_the_collector(reactor)
print(gc.isenabled(), gc.get_freeze_count())
reactor.later()
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def test_garbage_is_collected_again_when_the_proxy_runs() -> None:
    """... but what was there until then is looked at no more."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["False 0", "True True"]
