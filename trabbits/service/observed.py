"""The proxy as metrics see it.

Lives here: `ObservedProxy`.  Must not know: what is made of the numbers (``trabbits.admin``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from trabbits.admin.metrics_reading import ObservedTotals

if TYPE_CHECKING:
    from trabbits.service.proxy import ProxyService
    from trabbits.upstream.status import NodeTable


class ObservedProxy:
    """What `trabbits.admin.metrics_reading.ObservedProcess` asks for."""

    def __init__(self, proxy: ProxyService) -> None:
        self._proxy = proxy

    @property
    def config_hash(self) -> str:
        return self._proxy.settings.config_hash

    @property
    def stopping(self) -> bool:
        return not self._proxy.running

    @property
    def upstream_names(self) -> Collection[str]:
        return self._proxy.upstreams.keys()

    @property
    def nodes(self) -> NodeTable:
        return self._proxy.nodes

    @property
    def sessions(self) -> Mapping[str, Any]:
        sessions: Mapping[str, Any] = self._proxy.factory.sessions
        return sessions

    @property
    def totals(self) -> ObservedTotals:
        totals: ObservedTotals = self._proxy.factory.totals
        return totals
