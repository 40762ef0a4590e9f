"""Health checks as a service: they begin when the reactor runs and are gone when the service has stopped.

Lives here: `HealthService`.  Must not know: what a check does (``trabbits.upstream.health``).
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from trabbits.assembly import health_policies
from trabbits.config import Config

if TYPE_CHECKING:
    from trabbits.upstream.status import NodeTable


class HealthService(Service):
    """Checks the nodes of `table` as `config` says at the moment.  Call `refresh` when both have changed."""

    name = "health checks"

    def __init__(self, table: NodeTable, config: Callable[[], Config], reactor: Any) -> None:
        # Late: reading a configuration needs no txamqp.
        from trabbits.upstream.health import HealthWatch

        self._config = config
        self._watch = HealthWatch(table, reactor)
        self._reactor = reactor

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self.refresh)

    def refresh(self) -> None:
        """Check what is configured now; checks of unchanged upstreams just go on."""
        if self.running:
            self._watch.apply(health_policies(self._config()))

    def stopService(self) -> Deferred[None]:
        """Fires when no connection of a check is left."""
        super().stopService()
        return self._watch.stop()
