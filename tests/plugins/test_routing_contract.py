"""Every built-in routing strategy keeps to the contract of its kind."""

from __future__ import annotations

from tests.plugins.contracts import untested
from tests.plugins.routing_options import UPSTREAMS
from trabbits.interfaces import IRoutingStrategy, MessageProperties
from trabbits.plugins.exchange import exchange
from trabbits.plugins.first_match import first_match
from trabbits.plugins.hash import hash as by_hash
from trabbits.plugins.headers import headers
from trabbits.plugins.key_patterns import key_patterns
from trabbits.plugins.mirror import mirror
from trabbits.plugins.weighted import weighted
from trabbits.testing.contracts import RoutingStrategyTestsMixIn

RULES = [
    {"match": {"tenant": "acme", "priority": 9}, "upstream": "lapin"},
    {"match": {"canary": True, "x-trial": None}, "any": True, "upstream": "hase"},
    {"match": {"x-trial": None}, "properties": {"type": "trial", "priority": 3}, "upstream": "lapin"},
    {"properties": {"app_id": "shop", "timestamp": None}, "any": True, "upstream": "hase"},
]
WEIGHTS = {"rabbit": 50, "lapin": 30, "hase": 20}


class Routing(RoutingStrategyTestsMixIn):
    upstreams = UPSTREAMS
    keys = (("orders.eu", "hop.a.b"), ("audit-log", "hop"))
    messages = (
        MessageProperties({"tenant": "acme", "priority": 9}),
        MessageProperties({"canary": True}),
        MessageProperties({"x-trial": None}, type="trial", priority=3),
        MessageProperties(app_id="shop", timestamp=1_800_000_000),
    )


class TestKeyPatterns(Routing):
    plugin = key_patterns
    key_patterns = {"hase": ("hop.#", "*.%a.#.b"), "lapin": ("audit",)}


class TestExchange(Routing):
    plugin = exchange
    options = {"rules": [{"exchange": "orders.#", "upstream": "lapin"}, {"exchange": "", "upstream": "hase"}]}


class TestHash(Routing):
    plugin = by_hash
    options = {"upstreams": list(UPSTREAMS)}


class TestHashByHeader(Routing):
    plugin = by_hash
    options = {"upstreams": list(UPSTREAMS), "header": "tenant", "default": "rabbit"}


class TestWeighted(Routing):
    plugin = weighted
    options = {"weights": WEIGHTS}


class TestWeightedByHeader(Routing):
    plugin = weighted
    options = {"weights": WEIGHTS, "header": "tenant"}


class TestHeaders(Routing):
    plugin = headers
    options = {"rules": RULES, "default": "rabbit"}


class TestMirror(Routing):
    plugin = mirror
    options = {"to": ["lapin", "hase"], "percent": 50}
    key_patterns = {"hase": ("hop.#",)}


class TestMirrorByMessage(Routing):
    plugin = mirror
    options = {"to": "hase", "routing": {"plugin": "headers", "options": {"rules": RULES}}}


class TestFirstMatchThatMirrors(Routing):
    plugin = first_match
    options = {"strategies": [{"plugin": "mirror", "options": {"to": "hase"}}, {"plugin": "key_patterns"}]}


class TestFirstMatch(Routing):
    plugin = first_match
    options = {"strategies": [{"plugin": "key_patterns"}, {"plugin": "weighted", "options": {"weights": WEIGHTS}}]}


class TestFirstMatchByMessage(Routing):
    plugin = first_match
    options = {"strategies": [{"plugin": "headers", "options": {"rules": RULES}}, {"plugin": "key_patterns"}]}


def test_none_is_left_out() -> None:
    assert untested(IRoutingStrategy, Routing) == set()
