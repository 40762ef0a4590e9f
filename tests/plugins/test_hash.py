"""The plugin `hash`: even shares, what moves when upstreams come and go, and its options."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import assert_refused, make
from trabbits.interfaces import IMessageRoutingStrategy, IRoutingStrategy, MessageProperties
from trabbits.plugins.hash import Ring
from trabbits.plugins.sticky import point

KEYS = [f"order.{number}" for number in range(50_000)]
NAMES = ["rabbit", "lapin", "hase", "coniglio", "conejo"]


def routes(*upstreams: str) -> list[str]:
    ring = Ring(upstreams)
    return [ring(point(key.encode())) for key in KEYS]


def test_fulfils_the_interfaces() -> None:
    by_key = make("hash", {"upstreams": ["rabbit", "lapin"]})
    verifyObject(IRoutingStrategy, by_key)
    assert not IMessageRoutingStrategy.providedBy(by_key)
    verifyObject(IMessageRoutingStrategy, make("hash", {"upstreams": ["rabbit", "lapin"], "header": "customer"}))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shares_are_even(count: int) -> None:
    """Within a tenth of what is fair."""
    for upstream_count in Counter(routes(*NAMES[:count])).values():
        assert abs(upstream_count / len(KEYS) * count - 1) < 0.1


@pytest.mark.parametrize("gone", NAMES)
def test_one_that_goes_moves_only_its_own(gone: str) -> None:
    """... and they are spread over all others.  Read backwards: one that comes takes only what becomes its own."""
    before, after = routes(*NAMES), routes(*(name for name in NAMES if name != gone))
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {old for old, _ in moved} == {gone}
    assert len(moved) == before.count(gone)
    assert {new for _, new in moved} == set(NAMES) - {gone}


@given(st.permutations(NAMES[:3]), st.text(max_size=20))
def test_order_makes_no_difference(names: list[str], key: str) -> None:
    octets = key.encode()
    assert Ring(names)(point(octets)) == Ring(NAMES[:3])(point(octets))


def test_places_of_keys_never_change() -> None:
    """What another version, machine or process answers: these must stay as they are for ever."""
    strategy = make("hash", {"upstreams": ["rabbit", "lapin", "hase"]})
    given = {key: strategy.route("", key) for key in ("", "a", "b", "c", "order.created", "kunde.ü", "\udcff")}
    assert given == {
        "": "lapin",
        "a": "rabbit",
        "b": "rabbit",
        "c": "hase",
        "order.created": "lapin",
        "kunde.ü": "hase",
        "\udcff": "hase",
    }


def test_ends_of_the_ring() -> None:
    """Behind the last place it begins again with the first."""
    ring = Ring(["rabbit", "lapin"])
    assert ring(2**64 - 1) == ring(0)
    assert Ring(["rabbit"])(12345) == "rabbit"


def test_by_header() -> None:
    """The header decides and not the key; without one, the default or no opinion."""
    options = {"upstreams": ["rabbit", "lapin"], "header": "customer"}
    strategy = make("hash", options)
    by_value = {n: strategy.route_message("", "k", MessageProperties({"customer": n})) for n in range(50)}
    assert set(by_value.values()) == {"rabbit", "lapin"}
    assert all(
        strategy.route_message("x", "other", MessageProperties({"customer": n, "n": 1})) == by_value[n]
        for n in range(50)
    )
    assert strategy.route_message("", "k", MessageProperties()) is None
    assert make("hash", {**options, "default": "hase"}).route_message("", "k", MessageProperties()) == "hase"


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({}, ("upstreams",), "Field required"),
        ({"upstreams": []}, ("upstreams",), "at least 1 item"),
        ({"upstreams": ["rabbit", "rabbit"]}, ("upstreams",), 'each upstream once, not "rabbit" twice'),
        ({"upstreams": ["rabbit", "wolf"]}, ("upstreams", 1), "name of an upstream"),
        ({"upstreams": "rabbit"}, ("upstreams",), "valid list"),
        ({"upstreams": ["rabbit"], "default": "lapin"}, (), '"default" only together with "header"'),
        ({"upstreams": ["rabbit"], "header": 1}, ("header",), "valid string"),
    ],
)
def test_wrong_options(options: dict[str, object], path: tuple[str | int, ...], text: str) -> None:
    assert_refused("hash", options, path, text)
