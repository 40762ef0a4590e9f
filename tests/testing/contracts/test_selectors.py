"""`NodeSelectorTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from zope.interface import implementer

from tests.plugins.nodes import nodes
from tests.testing.contracts.wrong import Wrong, assert_noticed, making, rules_of
from trabbits.interfaces import INodeSelector, NodeView
from trabbits.testing.contracts import NodeSelectorTestsMixIn, PluginTestsMixIn

case = making(NodeSelectorTestsMixIn, nodes=nodes("abc"))


@implementer(INodeSelector)
class Sound:
    def order(self, nodes: Sequence[NodeView]) -> Any:
        return [each for each in reversed(nodes) if each.links < 90]


class Lazy(Sound):
    def order(self, nodes: Sequence[NodeView]) -> Any:
        return reversed(nodes)


class Twice(Sound):
    def order(self, nodes: Sequence[NodeView]) -> Any:
        return [*nodes, nodes[0]]


class Inventor(Sound):
    def order(self, nodes: Sequence[NodeView]) -> Any:
        return [evolve(nodes[0], address="elsewhere:5672")]


class Stubborn(Sound):
    """Goes on with the nodes that it saw first."""

    first: Sequence[NodeView] = ()

    def order(self, nodes: Sequence[NodeView]) -> Any:
        self.first = self.first or nodes
        return self.first


class Meddler(Sound):
    def order(self, nodes: Any) -> Any:
        if isinstance(nodes, list):
            nodes.sort(key=lambda node: node.links, reverse=True)
            nodes.reverse()
        return nodes


class Sleepy(Sound):
    def order(self, nodes: Sequence[NodeView]) -> Any:
        time.sleep(0.03)
        return nodes


WRONG = [
    Wrong("test_it_orders_what_it_was_given", "which is no sequence", case(Lazy)),
    Wrong("test_it_orders_what_it_was_given", "had answered already", case(Twice)),
    Wrong("test_it_orders_what_it_was_given", "which it was not given", case(Inventor)),
    Wrong("test_it_orders_what_it_was_given", "which it was not given", case(Stubborn)),
    Wrong("test_the_nodes_are_left_alone", "changes the sequence", case(Meddler)),
    Wrong("test_ordering_does_not_block", "it must not block", case(Sleepy)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(NodeSelectorTestsMixIn, PluginTestsMixIn)


@pytest.mark.parametrize("rule", sorted(rules_of(NodeSelectorTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str) -> None:
    getattr(case(Sound)(), rule)()
