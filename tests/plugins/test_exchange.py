"""The plugin `exchange`: which rule decides, and its options; what patterns mean is tested with `key_patterns`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import assert_refused, make
from trabbits.interfaces import IMessageRoutingStrategy, IRoutingStrategy
from trabbits.plugins.exchange import Exchanges
from trabbits.plugins.key_patterns import match


def test_fulfils_the_interface() -> None:
    strategy = make("exchange", {"rules": [{"exchange": "#", "upstream": "lapin"}]})
    verifyObject(IRoutingStrategy, strategy)
    assert not IMessageRoutingStrategy.providedBy(strategy)


@pytest.mark.parametrize(
    ("exchange", "upstream"),
    [
        ("orders", "lapin"),
        ("orders.eu", "lapin"),
        ("orders.eu.de", "lapin"),
        ("orders-2", None),
        ("bills.eu", "hase"),
        ("bills.eu.de", None),
        ("audit-log", "hase"),
        ("", "rabbit"),
        ("amq.topic", "rabbit"),
    ],
)
def test_table(exchange: str, upstream: str | None) -> None:
    """The exchange's name decides, whatever the routing key."""
    rules = [
        {"exchange": "orders.#", "upstream": "lapin"},
        {"exchange": "bills.*", "upstream": "hase"},
        {"exchange": "audit-%", "upstream": "hase"},
        {"exchange": "audit-log", "upstream": "lapin"},  # too late
        {"exchange": "", "upstream": "rabbit"},
        {"exchange": "amq.*", "upstream": "rabbit"},
    ]
    strategy = make("exchange", {"rules": rules})
    assert {strategy.route(exchange, key) for key in ("", "orders", "bills.x")} == {upstream}
    with_default = make("exchange", {"rules": rules, "default": "hase"})
    assert with_default.route(exchange, "") == (upstream or "hase")


@given(
    st.lists(st.tuples(st.sampled_from(["a", "a.#", "*", "", "a%", "#.b"]), st.sampled_from("xy")), max_size=5),
    st.text("ab.", max_size=5),
)
def test_the_first_rule_that_matches_decides(rules: list[tuple[str, str]], exchange: str) -> None:
    expected = next((upstream for pattern, upstream in rules if match(pattern, exchange)), None)
    assert Exchanges(rules).route(exchange, "key") == expected


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({}, ("rules",), "Field required"),
        ({"rules": []}, ("rules",), "at least 1 item"),
        ({"rules": [{"exchange": "x", "upstream": "wolf"}]}, ("rules", 0, "upstream"), "name of an upstream"),
        ({"rules": [{"exchange": "ü" * 128, "upstream": "lapin"}]}, ("rules", 0, "exchange"), "at most 255 octets"),
        ({"rules": [{"exchange": 1, "upstream": "lapin"}]}, ("rules", 0, "exchange"), "valid string"),
        ({"rules": [{"pattern": "x", "exchange": "x", "upstream": "lapin"}]}, ("rules", 0, "pattern"), "Extra inputs"),
        ({"rules": [{"exchange": "x", "upstream": "lapin"}], "default": "wolf"}, ("default",), "name of an upstream"),
    ],
)
def test_wrong_options(options: dict[str, Any], path: tuple[str | int, ...], text: str) -> None:
    assert_refused("exchange", options, path, text)
