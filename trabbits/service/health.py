"""The health checks of nodes as part of the service tree.

Lives here: when they begin, follow the configuration, and end.  Must not know: how a node is checked
(``trabbits.upstream.health``).
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

#: Seconds that the connections of checks may take to be gone.
STOP_TIMEOUT = 2.0


class HealthService(Service):
    """Checks the nodes of `table` as `config` says, from the moment in which the reactor runs.

    The checks go on while clients are leaving.
    """

    name = "health checks"

    def __init__(self, table: NodeTable, config: Callable[[], Config], reactor: Any) -> None:
        from trabbits.upstream.health import HealthWatch

        self._watch = HealthWatch(table, reactor)
        self._config = config
        self._reactor = reactor
        self._begun = False

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._watch.stop().addTimeout(STOP_TIMEOUT, self._reactor)

    def refresh(self) -> None:
        """The configuration changed; checks of nodes that it leaves as they are just go on."""
        if self._begun and self.running:
            self._watch.apply(health_policies(self._config()))

    def _begin(self) -> None:
        self._begun = True
        self.refresh()
