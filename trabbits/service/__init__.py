"""The proxy as one tree of Twisted services; ``trabbits run`` and ``twistd trabbits`` both end here."""

from __future__ import annotations

from trabbits.service.options import Options, read_config
from trabbits.service.proxy import ProxyService, make_service
from trabbits.service.reloading import Reloaded, ReloadImpossible

__all__ = ["Options", "ProxyService", "ReloadImpossible", "Reloaded", "make_service", "read_config"]
