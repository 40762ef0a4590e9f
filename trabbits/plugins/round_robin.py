"""A selector: every node in its turn.

Lives here: `RoundRobin`.  Must not know: whether the node that it put first was taken in the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from trabbits.interfaces import INodeSelector, NodeView
from trabbits.plugins.declaring import Plugin, PluginOptions

#: Nodes whose last turn is remembered; the configuration may change them for as long as a selector lives.
NODES_MAX = 1000


@implementer(INodeSelector)
class RoundRobin:
    """Puts the node first whose last turn was longest ago.

    A position in a fixed circle would give the neighbour of a node that is left out twice as many clients as the
    others; this shares them equally among those that are there, whichever these are.
    """

    def __init__(self) -> None:
        self._count = 0
        #: The number of each node's last turn, oldest first.
        self._turns: dict[str, int] = {}

    def order(self, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        ordered = sorted(nodes, key=lambda node: self._turns.get(node.address, 0))
        self._takes_turn(ordered[0].address)
        return ordered

    def _takes_turn(self, address: str) -> None:
        self._count += 1
        self._turns.pop(address, None)
        self._turns[address] = self._count
        if len(self._turns) > NODES_MAX:
            del self._turns[next(iter(self._turns))]


class RoundRobinOptions(PluginOptions):
    """None."""


round_robin = Plugin(
    "round_robin",
    INodeSelector,
    RoundRobinOptions,
    lambda _, __: RoundRobin(),
    "every node in its turn",
)
