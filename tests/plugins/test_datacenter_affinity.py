"""`DatacenterAffinity`: near nodes first, and what options are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.plugins.nodes import GROUPS, names, node, selector
from trabbits.interfaces import NodeView

EAST, WEST = node("e", datacenter="east"), node("w", datacenter="west")
NORTH, UNNAMED, NOWHERE = node("n", datacenter="north"), node("u", datacenter="atlantis"), node("x", rack="7")


@pytest.mark.parametrize(
    ("options", "group", "order"),
    [
        ({"datacenter": "east"}, [WEST, EAST], "ew"),
        ({"datacenter": "west"}, [EAST, WEST], "we"),
        ({"datacenter": "east", "order": ["north", "west"]}, [WEST, NORTH, EAST], "enw"),
        ({"datacenter": "east", "order": ["west", "north"]}, [NORTH, WEST, EAST], "ewn"),
        # what is not named comes last, with or without a label, as it comes
        ({"datacenter": "east", "order": ["west"]}, [NORTH, NOWHERE, UNNAMED, WEST, EAST], "ewnxu"),
        ({"datacenter": "nowhere"}, [WEST, NORTH, EAST], "wne"),
        # the own one is first wherever it stands
        ({"datacenter": "east", "order": ["west", "east", "north"]}, [NORTH, WEST, EAST], "ewn"),
        # names are compared as they are
        ({"datacenter": "East"}, [WEST, EAST], "we"),
    ],
)
def test_near_nodes_are_first(options: dict[str, Any], group: list[NodeView], order: str) -> None:
    assert names(selector("datacenter_affinity", **options).order(group)) == order


def test_among_equally_near_nodes_the_least_used_is_first() -> None:
    affinity = selector("datacenter_affinity", datacenter="east")
    group = [
        node("a", 0, datacenter="west"),
        node("b", 7, datacenter="east"),
        node("c", 3, datacenter="east"),
        node("d", 3, datacenter="east"),
    ]
    assert names(affinity.order(group)) == "cdba"
    assert names(affinity.order(group[::-1])) == "dcba"


@given(group=GROUPS, order=st.lists(st.sampled_from(["east", "west", "north"]), unique=True))
def test_the_order_is_by_distance_then_by_links(group: list[NodeView], order: list[str]) -> None:
    ordered = selector("datacenter_affinity", datacenter="west", order=order).order(tuple(group))
    assert sorted(map(id, ordered)) == sorted(map(id, group))
    near = ["west", *(name for name in order if name != "west")]

    def distance(each: NodeView) -> int:
        name = each.labels.get("datacenter", "?")
        return near.index(name) if name in near else 99

    keys = [(distance(each), each.links) for each in ordered]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "datacenter\n  Field required"),
        ({"datacenter": ""}, "at least 1 character"),
        ({"datacenter": 7}, "valid string"),
        ({"datacenter": "east", "order": "west"}, "valid list"),
        ({"datacenter": "east", "order": [""]}, "at least 1 character"),
        ({"datacenter": "east", "order": ["west", "north", "west"]}, "those at 0 and 2 are the same"),
        ({"datacenter": "east", "near": ["west"]}, "near\n  Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        selector("datacenter_affinity", **options)
    assert text in str(caught.value)
