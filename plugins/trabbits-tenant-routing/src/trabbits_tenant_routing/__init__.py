"""A routing strategy for trabbits: messages go to the upstream of their tenant.

The tenant stands in a header of each message; a JSON file says which upstream each tenant has. The file is read again
when it changes, so a tenant moves without a reload of trabbits. Nothing of trabbits is used but its public contract:
``trabbits.interfaces`` and ``trabbits.plugins.declaring``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from zope.interface import implementer

from trabbits.interfaces import IMessageRoutingStrategy, IRoutingStrategy, MessageProperties
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions, UpstreamName
from trabbits_tenant_routing.table import TenantTable, read_table
from trabbits_tenant_routing.watching import watch

__all__ = ["TenantOptions", "TenantRouting", "make", "tenant"]


class TenantOptions(PluginOptions):
    """Where the tenants are found."""

    file: Annotated[str, Field(min_length=1)]
    """A JSON file with one object: each key is a tenant, each value the name of its upstream."""
    header: Annotated[str, Field(min_length=1)] = "tenant"
    """The header that holds the tenant."""
    default: UpstreamName | None = None
    """Who gets messages without a tenant, or with one that is not in the file; null: no opinion."""
    interval: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = 5.0
    """Every so many seconds the file is looked at."""


@implementer(IMessageRoutingStrategy)
class TenantRouting:
    """Routes by the tenants of a `TenantTable`, which somebody else keeps up to date."""

    def __init__(self, table: TenantTable, header: str, default: str | None) -> None:
        self.table = table
        self._header = header
        self._default = default

    def route(self, exchange: str, routing_key: str) -> str | None:
        """Without headers there is no tenant."""
        return self._default

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        name = properties.headers.get(self._header)
        if isinstance(name, str):
            return self.table.upstreams.get(name, self._default)
        return self._default


def make(options: TenantOptions, context: PluginContext) -> TenantRouting:
    """Read the file once, and watch it if this is meant seriously. Raises ValueError for a file that is wrong."""
    path = Path(options.file)
    table = TenantTable(path, read_table(path, context.upstreams), context.upstreams)
    strategy = TenantRouting(table, options.header, options.default)
    if context.reactor is not None:
        watch(strategy, options.interval, context.reactor)
    return strategy


tenant = Plugin("tenant", IRoutingStrategy, TenantOptions, make, "the upstream of the tenant that a header names")
