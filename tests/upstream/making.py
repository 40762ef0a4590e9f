"""Upstreams for tests, from addresses."""

from __future__ import annotations

from typing import Any

from trabbits.upstream.node import Node
from trabbits.upstream.status import NodeTable
from trabbits.upstream.upstream import Upstream


def upstream_at(*addresses: str, timeout: float, reactor: Any, log: Any = None, **options: Any) -> Upstream:
    """An upstream called "primary" with these nodes."""
    table = NodeTable(reactor, log)
    table.keep(("primary", Node.parse(address)) for address in addresses)
    return Upstream("primary", table.of("primary"), timeout, reactor, log=log, **options)
