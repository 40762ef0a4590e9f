"""Every built-in node selector keeps to the contract of its kind."""

from __future__ import annotations

from tests.plugins.contracts import untested
from tests.plugins.nodes import node
from trabbits.interfaces import INodeSelector
from trabbits.plugins.datacenter_affinity import datacenter_affinity
from trabbits.plugins.least_connections import least_connections
from trabbits.plugins.ordered import ordered
from trabbits.plugins.random_order import random
from trabbits.plugins.round_robin import round_robin
from trabbits.testing.contracts import NodeSelectorTestsMixIn


class Selecting(NodeSelectorTestsMixIn):
    nodes = (node("a", 3, datacenter="west"), node("b", 0, datacenter="east"), node("c", 1), node("d", 0))


class TestLeastConnections(Selecting):
    plugin = least_connections


class TestRoundRobin(Selecting):
    plugin = round_robin


class TestRandom(Selecting):
    plugin = random


class TestDatacenterAffinity(Selecting):
    plugin = datacenter_affinity
    options = {"datacenter": "east", "order": ["west"]}


class TestOrdered(Selecting):
    plugin = ordered
    options = {"nodes": ["c:5672", "a:5672", "[::1]:5672"]}


def test_none_is_left_out() -> None:
    assert untested(INodeSelector, Selecting) == set()
