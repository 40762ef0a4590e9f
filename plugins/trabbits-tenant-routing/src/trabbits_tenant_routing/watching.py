"""Keeps a strategy's table up to date for as long as somebody uses the strategy.

trabbits does not tell a strategy when it is replaced: after a reload, sessions keep the old one until they end. So
nothing here holds the strategy, only a weak reference to it; with the last session it goes, and the watching ends.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from trabbits_tenant_routing import TenantRouting
    from trabbits_tenant_routing.table import Reading

_log = Logger()


def watch(strategy: TenantRouting, interval: float, reactor: Any) -> None:
    """Look at the file of the strategy's table every `interval` seconds, never twice at a time."""
    _Watch(weakref.ref(strategy), interval, reactor).wait()


class _Watch:
    def __init__(self, strategy: weakref.ref[TenantRouting], interval: float, reactor: Any) -> None:
        self._strategy = strategy
        self._interval = interval
        self._reactor = reactor

    def wait(self) -> None:
        self._reactor.callLater(self._interval, self._look)

    def _look(self) -> None:
        strategy = self._strategy()
        if strategy is None:
            return
        # Reading may take its time on a network's file system: not in the thread that serves clients.
        done = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), strategy.table.look)
        done.addCallbacks(self._read, self._failed)
        done.addErrback(lambda failure: _log.failure("tenants not updated", failure=failure))
        done.addBoth(lambda _: self.wait())

    def _read(self, reading: Reading | None) -> None:
        strategy = self._strategy()
        if strategy is None:
            return
        table = strategy.table
        if reading is not None:
            table.reading = reading
            _log.info("{path}: {count} tenants", path=str(table.path), count=len(reading.upstreams))
        table.problem = ""

    def _failed(self, failure: Failure) -> None:
        failure.trap(ValueError)
        strategy = self._strategy()
        # Told once, not at every look.
        if strategy is not None and strategy.table.problem != str(failure.value):
            strategy.table.problem = str(failure.value)
            _log.error("tenants stay as they were: {problem}", problem=strategy.table.problem)
