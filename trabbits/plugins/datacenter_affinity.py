"""A selector: nodes in the own datacenter first, then those in near ones.

Lives here: `DatacenterAffinity`.  Must not know: how nodes come by their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field
from zope.interface import implementer

from trabbits.interfaces import INodeSelector, NodeView
from trabbits.plugins.declaring import Plugin, PluginOptions
from trabbits.plugins.option_types import each_once

#: The label that says where a node is.
LABEL = "datacenter"


@implementer(INodeSelector)
class DatacenterAffinity:
    """Near nodes first, `datacenters` being those in question from near to far.

    Nodes elsewhere, and those whose label is missing, come last.  Among nodes that are equally near: those with the
    fewest links first, equal ones as they come, which is a random order.
    """

    def __init__(self, datacenters: Sequence[str]) -> None:
        self._distances: dict[str, int] = {}
        for datacenter in datacenters:
            self._distances.setdefault(datacenter, len(self._distances))

    def order(self, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        return sorted(nodes, key=lambda node: (self._distance(node), node.links))

    def _distance(self, node: NodeView) -> int:
        datacenter = node.labels.get(LABEL)
        return len(self._distances) if datacenter is None else self._distances.get(datacenter, len(self._distances))


Datacenter = Annotated[str, Field(min_length=1)]


class DatacenterAffinityOptions(PluginOptions):
    """Where trabbits runs, and what is near."""

    datacenter: Datacenter
    """The datacenter that this process runs in: the label `datacenter` of the nodes that are to be tried first."""
    order: Annotated[list[Datacenter], AfterValidator(each_once)] = []
    """The other datacenters, near ones first; those that are not named come last.

    It may name the own one, too, which comes first in any case: so the same list serves in every datacenter."""


datacenter_affinity = Plugin(
    "datacenter_affinity",
    INodeSelector,
    DatacenterAffinityOptions,
    lambda options, _: DatacenterAffinity([options.datacenter, *options.order]),
    "nodes in the own datacenter, then those in near ones; among equals the least used",
)
