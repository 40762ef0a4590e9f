"""A selector: the node with the fewest links first.

Lives here: `LeastConnections`.  Must not know: where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from trabbits.interfaces import INodeSelector, NodeView
from trabbits.plugins.declaring import Plugin, PluginOptions


@implementer(INodeSelector)
class LeastConnections:
    """Counts what this process has open or is opening; equal ones stay as they come, which is a random order."""

    def order(self, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        return sorted(nodes, key=lambda node: node.links)


class LeastConnectionsOptions(PluginOptions):
    """None."""


least_connections = Plugin(
    "least_connections",
    INodeSelector,
    LeastConnectionsOptions,
    lambda _, __: LeastConnections(),
    "the node that this process has the fewest connections to",
)
