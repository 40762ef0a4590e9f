"""Upstreams for tests, from addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trabbits.upstream.node import Node
from trabbits.upstream.status import NodeTable
from trabbits.upstream.upstream import Upstream


def upstream_at(
    *addresses: str,
    timeout: float,
    reactor: Any,
    log: Any = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    **options: Any,
) -> Upstream:
    """An upstream called "primary" with these nodes; `labels` are theirs by address."""
    table = NodeTable(reactor, log)
    labelled = {("primary", Node.parse(address)): each for address, each in (labels or {}).items()}
    table.keep((("primary", Node.parse(address)) for address in addresses), labelled)
    return Upstream("primary", table.of("primary"), timeout, reactor, log=log, **options)
