"""`RandomOrder`: every order, equally often."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given

from tests.plugins.nodes import GROUPS, names, node, nodes, selector
from trabbits.interfaces import NodeView
from trabbits.plugins.random_order import RandomOrder


def test_every_order_is_as_likely_as_any_other() -> None:
    selector = RandomOrder(Random(5))
    orders = Counter(names(selector.order(nodes("abc"))) for _ in range(6000))
    assert len(orders) == 6
    assert all(850 < times < 1150 for times in orders.values())


def test_links_do_not_matter() -> None:
    selector = RandomOrder(Random(5))
    firsts = Counter(names(selector.order([node("a", 1000), node("b")]))[0] for _ in range(1000))
    assert 420 < firsts["a"] < 580


@given(group=GROUPS)
def test_nobody_is_left_out(group: list[NodeView]) -> None:
    assert sorted(map(id, selector("random").order(tuple(group)))) == sorted(map(id, group))
