"""The contract of node selectors.

Lives here: `NodeSelectorTestsMixIn`.  Must not know: what any selector prefers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar, Final

from zope.interface.interface import InterfaceClass

from trabbits.interfaces import INodeSelector, NodeView
from trabbits.testing.contracts.plugin import PluginTestsMixIn
from trabbits.testing.contracts.rules import require, require_prompt

_LABELS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"datacenter": "east"},
    {"datacenter": "", "rack": "1"},
    {"weight": "no number"},
    {"": "x" * 300},
)
_ADDRESSES: Final = ("rabbit-1:5672", "10.0.0.2:5672", "[::1]:5672", "rabbit-1:5673", "rabbit.example.com.:65535")


class NodeSelectorTestsMixIn(PluginTestsMixIn):
    """For what provides `INodeSelector`.  `nodes` are some that it has rules about, all of one upstream."""

    interface: ClassVar[InterfaceClass] = INodeSelector
    nodes: Sequence[NodeView] = ()

    def test_it_orders_what_it_was_given(self) -> None:
        """The answer is a sequence of the nodes in question, each at most once; the nodes change from call to call."""
        selector = self.make_plugin(self.make_reactor())
        for group in (*self._groups(), *self._groups()):
            answer = selector.order(group)
            sequence = isinstance(answer, Sequence) and not isinstance(answer, str)
            require(sequence, f"order() answered {answer!r:.200}, which is no sequence of nodes")
            left = list(group)
            for node in answer:
                require(node in left, f"order() answered {node!r:.200}, which it was not given or had answered already")
                left.remove(node)

    def test_the_nodes_are_left_alone(self) -> None:
        """The sequence that it is given is the caller's, and stays in its order."""
        selector = self.make_plugin(self.make_reactor())
        for group in self._groups():
            given = list(group)
            selector.order(given)
            require(given == list(group), "order() changes the sequence that it was given")

    def test_ordering_does_not_block(self) -> None:
        """It is asked for each attempt at a connection."""
        selector = self.make_plugin(self.make_reactor())
        require_prompt("order()", self.time_limit, [partial(selector.order, each) for each in self._groups()])

    def _groups(self) -> Iterator[Sequence[NodeView]]:
        """Nodes that the same speaks against, as trabbits asks for them: as tuples, so that none can be changed."""
        if self.nodes:
            yield tuple(self.nodes)
            yield tuple(self.nodes[:1])
            yield tuple(reversed(self.nodes))
        for healthy, suspect in ((True, False), (True, True), (False, False)):
            group = tuple(
                NodeView(address, labels, links=number % 3, healthy=healthy, suspect=suspect)
                for number, (address, labels) in enumerate(zip(_ADDRESSES, _LABELS, strict=True))
            )
            yield group
            yield group[:1]
            yield group[2:]
            yield group[::-1]
        yield tuple(NodeView(f"rabbit-{number}:5672", {}, number, True, False) for number in range(100))
