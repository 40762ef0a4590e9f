"""A selector: chance.

Lives here: `RandomOrder`.  Must not know: anything about the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from zope.interface import implementer

from trabbits.interfaces import INodeSelector, NodeView
from trabbits.plugins.declaring import Plugin, PluginOptions


@implementer(INodeSelector)
class RandomOrder:
    """Every order is as likely as any other, whatever the nodes have to do."""

    def __init__(self, chance: Random | None = None) -> None:
        self._chance = chance if chance is not None else Random()

    def order(self, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        return self._chance.sample(nodes, len(nodes))


class RandomOrderOptions(PluginOptions):
    """None."""


random = Plugin(
    "random",
    INodeSelector,
    RandomOrderOptions,
    lambda _, __: RandomOrder(),
    "any node, by chance",
)
