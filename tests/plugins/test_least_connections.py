"""`LeastConnections`.  Not covered: the random order of equal nodes, which is the caller's (``tests/upstream``)."""

from __future__ import annotations

from hypothesis import given

from tests.plugins.nodes import GROUPS, names, node, selector
from trabbits.interfaces import NodeView


def test_the_node_with_the_fewest_links_is_first() -> None:
    assert names(selector("least_connections").order([node("a", 2), node("b", 0), node("c", 1)])) == "bca"


def test_equal_ones_stay_as_they_come() -> None:
    assert names(selector("least_connections").order([node("c", 1), node("a", 1), node("d"), node("b", 1)])) == "dcab"


@given(group=GROUPS)
def test_links_never_become_fewer(group: list[NodeView]) -> None:
    ordered = selector("least_connections").order(tuple(group))
    assert sorted(map(id, ordered)) == sorted(map(id, group))
    links = [each.links for each in ordered]
    assert links == sorted(links)
