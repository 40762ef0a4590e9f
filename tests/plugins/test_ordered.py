"""`Ordered`: the order that was written down, and which addresses are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.plugins.nodes import GROUPS, names, node, nodes, selector
from trabbits.interfaces import NodeView


@pytest.mark.parametrize(
    ("configured", "group", "order"),
    [
        ("abc", "cab", "abc"),
        ("cba", "abc", "cba"),
        ("bx", "ab", "ba"),  # a node that is not there, or isolated at the time
        ("b", "cab", "bca"),  # the others as they come
        ("xy", "ba", "ba"),
    ],
)
def test_nodes_are_in_the_configured_order(configured: str, group: str, order: str) -> None:
    selector_ = selector("ordered", nodes=[f"{name}:5672" for name in configured])
    assert names(selector_.order(nodes(group))) == order


def test_links_do_not_matter() -> None:
    assert names(selector("ordered", nodes=["a:5672"]).order([node("b"), node("a", 100)])) == "ab"


def test_ports_tell_nodes_of_one_host_apart() -> None:
    group = [NodeView(f"localhost:{port}", {}, 0, healthy=True, suspect=False) for port in (5672, 5673)]
    assert selector("ordered", nodes=["localhost:5673"]).order(group) == group[::-1]


@pytest.mark.parametrize("written", ["[::1]:5672", "[0:0::0001]:5672", "[::1]:05672"])
def test_an_ipv6_address_may_be_written_in_any_way(written: str) -> None:
    loopback = NodeView("[::1]:5672", {}, 0, healthy=True, suspect=False)
    assert selector("ordered", nodes=[written]).order([node("a"), loopback])[0] is loopback


@given(group=GROUPS, places=st.permutations(range(1, 51)))
def test_the_order_is_that_of_the_list(group: list[NodeView], places: list[int]) -> None:
    addresses = [f"node-{number}:5672" for number in places[:25]]
    ordered = selector("ordered", nodes=addresses).order(tuple(group))
    assert sorted(map(id, ordered)) == sorted(map(id, group))
    found = [each.address for each in ordered]
    listed = [address for address in addresses if address in found]
    assert found[: len(listed)] == listed


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "nodes\n  Field required"),
        ({"nodes": []}, "at least 1 item"),
        ({"nodes": "a:5672"}, "valid list"),
        ({"nodes": [5672]}, "valid string"),
        ({"nodes": ["a"]}, "the address of a node"),
        ({"nodes": ["a:"]}, "the address of a node"),
        ({"nodes": ["::1:5672"]}, "the address of a node"),
        ({"nodes": ["[rabbit]:5672"]}, "an IPv6 address in brackets"),
        ({"nodes": ["amqp://a:5672"]}, "the address of a node"),
        ({"nodes": ["a:5672", "b:5672", "a:5672"]}, "those at 0 and 2 are the same"),
        ({"nodes": ["[::1]:5672", "[0::1]:5672"]}, "those at 0 and 1 are the same"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        selector("ordered", **options)
    assert text in str(caught.value)
