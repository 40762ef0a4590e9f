"""The plugin `weighted`: how the keys are shared, which of them move when weights change, and its options."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import assert_refused, make
from trabbits.interfaces import (
    IMessageRoutingStrategy,
    IPropertyRoutingStrategy,
    IRoutingStrategy,
    MessageProperties,
)
from trabbits.plugins.sticky import point

KEYS = [f"customer.{number}" for number in range(100_000)]


def routes(weights: dict[str, float], keys: list[str] = KEYS) -> list[str]:
    strategy = make("weighted", {"weights": weights})
    return [strategy.route("", key) for key in keys]


def test_by_routing_key_it_is_asked_once_per_key() -> None:
    strategy = make("weighted", {"weights": {"rabbit": 90, "lapin": 10}})
    verifyObject(IRoutingStrategy, strategy)
    assert not IMessageRoutingStrategy.providedBy(strategy)


def test_by_header_it_is_asked_once_per_value() -> None:
    strategy = make("weighted", {"weights": {"rabbit": 100}, "header": "customer"})
    verifyObject(IPropertyRoutingStrategy, strategy)
    assert (strategy.header_names, strategy.property_names) == (("customer",), ())


def test_ten_percent_of_the_keys_are_ten_percent() -> None:
    """Over 100 000 keys within half a per cent of all, by routing key and by header."""
    counts = Counter(routes({"rabbit": 90, "lapin": 10}))
    assert counts.total() == len(KEYS)
    assert abs(counts["lapin"] / len(KEYS) - 0.10) < 0.005
    by_header = make("weighted", {"weights": {"rabbit": 90, "lapin": 10}, "header": "customer"})
    asked = Counter(
        by_header.route_message("", "same", MessageProperties({"customer": number})) for number in range(100_000)
    )
    assert abs(asked["lapin"] / 100_000 - 0.10) < 0.005


def test_places_of_keys_never_change() -> None:
    """What another version, machine or process answers: these must stay as they are for ever."""
    strategy = make("weighted", {"weights": {"rabbit": 50, "lapin": 30, "hase": 20}})
    given = {key: strategy.route("", key) for key in ("", "a", "b", "c", "order.created", "kunde.ü", "\udcff")}
    assert given == {
        "": "hase",
        "a": "rabbit",
        "b": "lapin",
        "c": "rabbit",
        "order.created": "lapin",
        "kunde.ü": "lapin",
        "\udcff": "hase",
    }


def test_the_place_of_a_key() -> None:
    """What ``printf a | b2sum -l 64`` says."""
    assert point(b"a") == 0x40F89E395B66422F


def test_same_key_same_upstream_whatever_the_exchange() -> None:
    strategy = make("weighted", {"weights": {"rabbit": 50, "lapin": 50}})
    assert all(strategy.route("x", key) == strategy.route("y", key) for key in KEYS[:100])


def test_step_by_step() -> None:
    """A larger weight takes keys over, nothing else moves, until all have moved."""
    before = routes({"rabbit": 100, "lapin": 0})
    assert set(before) == {"rabbit"}
    for step in (1, 10, 25, 50, 99.5, 100):
        after = routes({"rabbit": 100 - step, "lapin": step})
        moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        assert set(moved) == {("rabbit", "lapin")}
        before = after
    assert set(before) == {"lapin"}


def test_a_border_between_two_leaves_the_third_alone() -> None:
    before = routes({"rabbit": 50, "lapin": 30, "hase": 20})
    after = routes({"rabbit": 50, "lapin": 20, "hase": 30})
    moved = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    assert set(moved) == {("lapin", "hase")}
    assert abs(moved["lapin", "hase"] / len(KEYS) - 0.10) < 0.005


def test_order_is_that_of_the_upstreams() -> None:
    """... and not that of the weights, which a Jsonnet file cannot choose."""
    one = routes({"rabbit": 50, "lapin": 30, "hase": 20}, KEYS[:1000])
    assert one == routes({"hase": 20, "lapin": 30, "rabbit": 50}, KEYS[:1000])


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(any), st.text(max_size=20))
def test_any_weights_any_key(parts: list[int], key: str) -> None:
    """Each key has an upstream, and never one whose weight is 0."""
    names = ("rabbit", "lapin", "hase")
    weights = {name: part / sum(parts) * 100 for name, part in zip(names, parts, strict=True)}
    upstream = make("weighted", {"weights": weights}).route("", key)
    assert weights[upstream] > 0


@given(st.integers(0, 100), st.integers(0, 100), st.text(max_size=20))
def test_keys_move_only_to_what_grew(old: int, new: int, key: str) -> None:
    before, after = (routes({"rabbit": 100 - share, "lapin": share}, [key])[0] for share in (old, new))
    if before != after:
        assert after == ("lapin" if new > old else "rabbit")


@pytest.mark.parametrize("value", ["17", 17, b"17"])
def test_headers_of_other_types_are_the_same_key(value: object) -> None:
    strategy = make("weighted", {"weights": {"rabbit": 34, "lapin": 33, "hase": 33}, "header": "customer"})
    text = {str(n): strategy.route_message("", "", MessageProperties({"customer": str(n)})) for n in range(50)}
    assert len(set(text.values())) == 3
    assert strategy.route_message("", "", MessageProperties({"customer": value})) == text["17"]
    assert all(strategy.route_message("", "", MessageProperties({"customer": n})) == text[str(n)] for n in range(50))


@pytest.mark.parametrize("headers", [{}, {"Customer": "1"}, {"customer": None}, {"customer": [1]}, {"customer": {}}])
def test_without_a_key_it_is_the_default(headers: dict[str, object]) -> None:
    """No header of that name, or a value that is no key: the default, or no opinion."""
    options = {"weights": {"rabbit": 50, "lapin": 50}, "header": "customer"}
    assert make("weighted", options).route_message("", "k", MessageProperties(headers)) is None
    assert make("weighted", {**options, "default": "hase"}).route_message("", "k", MessageProperties(headers)) == "hase"


def test_without_headers_to_look_at() -> None:
    options = {"weights": {"rabbit": 50, "lapin": 50}, "header": "customer"}
    assert make("weighted", options).route("", "k") is None
    assert make("weighted", {**options, "default": "hase"}).route("", "k") == "hase"


def test_thirds() -> None:
    """What has no finite decimal form may miss 100 a little."""
    make("weighted", {"weights": {"rabbit": 33.33333, "lapin": 33.33333, "hase": 33.33333}})
    make("weighted", {"weights": {"rabbit": 0.1, "lapin": 0.2, "hase": 99.7}})


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({}, ("weights",), "Field required"),
        ({"weights": {}}, ("weights",), "a sum of 100, not 0"),
        ({"weights": {"rabbit": 90, "lapin": 11}}, ("weights",), "a sum of 100, not 101"),
        ({"weights": {"rabbit": 90, "lapin": 9.99}}, ("weights",), "a sum of 100, not 99.99"),
        ({"weights": {"rabbit": 110, "lapin": 0}}, ("weights", "rabbit"), "less than or equal to 100"),
        ({"weights": {"rabbit": 100, "lapin": -1}}, ("weights", "lapin"), "greater than or equal to 0"),
        ({"weights": {"rabbit": math.nan}}, ("weights", "rabbit"), "finite"),
        ({"weights": {"rabbit": math.inf}}, ("weights", "rabbit"), "finite"),
        ({"weights": {"rabbit": "100"}}, ("weights", "rabbit"), "valid number"),
        ({"weights": {"rabbit": True}}, ("weights", "rabbit"), "valid number"),
        ({"weights": {"wolf": 100}}, ("weights", "wolf", "[key]"), 'upstream: "rabbit", "lapin", "hase"'),
        ({"weights": {"rabbit": 100}, "header": ""}, ("header",), "1 to 255 octets"),
        ({"weights": {"rabbit": 100}, "header": "ü" * 128}, ("header",), "1 to 255 octets"),
        ({"weights": {"rabbit": 100}, "default": "lapin"}, (), '"default" only together with "header"'),
        ({"weights": {"rabbit": 100}, "header": "h", "default": "wolf"}, ("default",), "name of an upstream"),
        ({"weights": {"rabbit": 100}, "sticky": True}, ("sticky",), "Extra inputs"),
    ],
)
def test_wrong_options(options: dict[str, object], path: tuple[str | int, ...], text: str) -> None:
    assert_refused("weighted", options, path, text)
