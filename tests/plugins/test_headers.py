"""The plugin `headers`: which rules hold, which of them decides, and its options."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import assert_refused, make
from trabbits.interfaces import IMessageRoutingStrategy, IPropertyRoutingStrategy, MessageProperties
from trabbits.plugins.headers import Headers, PropertyName, Rule

CASES: list[tuple[dict[str, Any], bool, dict[str, Any], bool]] = [
    # match, any, headers, whether the rule holds
    ({"a": "x"}, False, {"a": "x"}, True),
    ({"a": "x"}, False, {"a": "x", "b": "y"}, True),
    ({"a": "x"}, False, {"a": "y"}, False),
    ({"a": "x"}, False, {"A": "x"}, False),
    ({"a": "x"}, False, {}, False),
    # all of them
    ({"a": "x", "b": 1}, False, {"a": "x", "b": 1}, True),
    ({"a": "x", "b": 1}, False, {"a": "x", "b": 2}, False),
    ({"a": "x", "b": 1}, False, {"a": "x"}, False),
    ({"a": "x", "b": 1}, False, {"b": 1}, False),
    # one of them
    ({"a": "x", "b": 1}, True, {"a": "x"}, True),
    ({"a": "x", "b": 1}, True, {"a": "y", "b": 1}, True),
    ({"a": "x", "b": 1}, True, {"a": "y"}, False),
    ({"a": "x", "b": 1}, True, {}, False),
    # kinds
    ({"a": 1}, False, {"a": "1"}, False),
    ({"a": "1"}, False, {"a": 1}, False),
    ({"a": 1}, False, {"a": 1.0}, True),
    ({"a": 1}, False, {"a": Decimal(1)}, True),
    ({"a": 1}, False, {"a": True}, False),
    ({"a": True}, False, {"a": 1}, False),
    ({"a": True}, False, {"a": True}, True),
    ({"a": True}, False, {"a": False}, False),
    ({"a": "true"}, False, {"a": True}, False),
    ({"a": ""}, False, {"a": ""}, True),
    ({"a": "x"}, False, {"a": b"x"}, False),
    # any value
    ({"a": None}, False, {"a": "x"}, True),
    ({"a": None}, False, {"a": None}, True),
    ({"a": None}, False, {"a": [1]}, True),
    ({"a": None}, False, {}, False),
    ({"b": 1, "a": None}, False, {"a": 0, "b": 1}, True),
    ({"b": 1, "a": None}, False, {"b": 1}, False),
    # values that equal nothing
    ({"a": "x"}, False, {"a": ["x"]}, False),
    ({"a": "x"}, False, {"a": {"x": "x"}}, False),
    ({"a": "x"}, False, {"a": None}, False),
    ({"b": 1, "a": "x"}, False, {"a": None, "b": 1}, False),
    ({"a": "x"}, False, {"a": datetime(2026, 1, 1, tzinfo=UTC)}, False),
]


@pytest.mark.parametrize(("match", "any_", "headers", "expected"), CASES)
def test_table(match: dict[str, Any], any_: bool, headers: dict[str, Any], expected: bool) -> None:
    """Each rule holds when the documentation says so."""
    strategy = make("headers", {"rules": [{"match": match, "any": any_, "upstream": "lapin"}]})
    assert (strategy.route_message("exchange", "key", MessageProperties(headers)) == "lapin") is expected
    assert strategy.route_message("exchange", "key", MessageProperties(headers)) in ("lapin", None)


ORDER = {"type": "order", "priority": 9, "app_id": "shop", "delivery_mode": 2}
PROPERTIES: list[tuple[dict[str, Any], dict[str, Any], bool, dict[str, Any], dict[str, Any], bool]] = [
    # match, properties, any, headers, properties of the message, whether the rule holds
    ({}, {"type": "order"}, False, {}, ORDER, True),
    ({}, {"type": "order"}, False, {"type": "order"}, {}, False),
    ({}, {"type": "order"}, False, {}, {"type": "bill"}, False),
    ({}, {"type": ""}, False, {}, {"type": ""}, True),
    ({}, {"type": ""}, False, {}, {}, False),
    ({}, {"priority": 9}, False, {}, ORDER, True),
    ({}, {"priority": 0}, False, {}, {}, False),
    ({}, {"type": None}, False, {}, ORDER, True),
    ({}, {"type": None}, False, {}, {}, False),
    ({}, {"type": "order", "app_id": "shop"}, False, {}, ORDER, True),
    ({}, {"type": "order", "app_id": "desk"}, False, {}, ORDER, False),
    ({}, {"type": "bill", "app_id": "shop"}, True, {}, ORDER, True),
    ({"a": "x"}, {"type": "order"}, False, {"a": "x"}, ORDER, True),
    ({"a": "x"}, {"type": "order"}, False, {"a": "y"}, ORDER, False),
    ({"a": "x"}, {"type": "order"}, False, {"a": "x"}, {}, False),
    ({"a": "x"}, {"type": "order"}, True, {"a": "y"}, ORDER, True),
    ({"type": "x"}, {"type": "y"}, False, {"type": "x"}, {"type": "y"}, True),
    ({"type": "x"}, {"type": "y"}, False, {"type": "y"}, {"type": "x"}, False),
]


@pytest.mark.parametrize(("match", "wanted", "any_", "headers", "properties", "expected"), PROPERTIES)
def test_table_of_properties(
    match: dict[str, Any],
    wanted: dict[str, Any],
    any_: bool,
    headers: dict[str, Any],
    properties: dict[str, Any],
    expected: bool,
) -> None:
    """Other properties decide as headers do, and have nothing to do with headers of the same name."""
    rule = {"match": match, "properties": wanted, "any": any_, "upstream": "lapin"}
    strategy = make("headers", {"rules": [rule]})
    answer = strategy.route_message("exchange", "key", MessageProperties(headers, **properties))
    assert answer == ("lapin" if expected else None)


def test_it_names_what_its_rules_are_about() -> None:
    rules = [
        {"match": {"a": 1, "b": None}, "upstream": "lapin"},
        {"match": {"a": 2}, "properties": {"type": "x"}, "upstream": "hase"},
        {"properties": {"app_id": "y", "type": None}, "any": True, "upstream": "hase"},
    ]
    strategy = make("headers", {"rules": rules})
    assert verifyObject(IPropertyRoutingStrategy, strategy)
    assert (strategy.header_names, strategy.property_names) == (("a", "b"), ("type", "app_id"))


def test_every_property_may_be_asked_for() -> None:
    """And there is no other."""
    names = {each.name for each in fields(MessageProperties)} - {"headers"}
    assert names == set(get_args(PropertyName))
    for name in names:
        strategy = make("headers", {"rules": [{"properties": {name: None}, "upstream": "lapin"}]})
        assert strategy.property_names == (name,)
        value: Any = 1 if name in ("delivery_mode", "priority", "timestamp") else "x"
        rule = {"properties": {name: value}, "upstream": "lapin"}
        assert make("headers", {"rules": [rule]}).route_message("", "", MessageProperties(**{name: value})) == "lapin"


def test_fulfils_the_interface() -> None:
    strategy = make("headers", {"rules": [{"match": {"a": 1}, "upstream": "lapin"}]})
    verifyObject(IMessageRoutingStrategy, strategy)


def test_the_first_rule_that_holds_decides() -> None:
    strategy = make(
        "headers",
        {
            "rules": [
                {"match": {"b": "x", "c": "x"}, "upstream": "hase"},
                {"match": {"a": "x"}, "upstream": "lapin"},
                {"match": {"b": None}, "upstream": "rabbit"},
            ]
        },
    )
    assert strategy.route_message("", "", MessageProperties({"a": "x", "b": "x", "c": "x"})) == "hase"
    assert strategy.route_message("", "", MessageProperties({"a": "x", "b": "x"})) == "lapin"
    assert strategy.route_message("", "", MessageProperties({"b": "x"})) == "rabbit"


def test_no_rule_holds() -> None:
    """The default, or no opinion; the same where there are no headers to look at."""
    options = {"rules": [{"match": {"a": 1}, "upstream": "lapin"}]}
    for strategy, expected in [
        (make("headers", options), None),
        (make("headers", {**options, "default": "hase"}), "hase"),
    ]:
        assert strategy.route_message("", "", MessageProperties({"a": 2})) == expected
        assert strategy.route("", "") == expected


def naive(rules: list[Rule], headers: dict[str, Any]) -> str | None:
    """The definition, rule by rule."""

    def holds(name: str, wanted: Any) -> bool:
        if name not in headers:
            return False
        value = headers[name]
        return wanted is None or (wanted == value and isinstance(wanted, bool) == isinstance(value, bool))

    for rule in rules:
        if (any if rule.any else all)(holds(name, wanted) for name, wanted in rule.match.items()):
            return rule.upstream
    return None


names = st.sampled_from("abc")
scalars = st.sampled_from(["x", "1", 1, 0, True, False, 1.0, None])
rules_ = st.builds(
    Rule, match=st.dictionaries(names, scalars, min_size=1), upstream=st.sampled_from(["one", "two"]), any=st.booleans()
)


@given(st.lists(rules_, max_size=6), st.dictionaries(names, scalars | st.just([1])))
def test_agrees_with_the_naive_model(rules: list[Rule], headers: dict[str, Any]) -> None:
    """Looking rules up by value gives what trying them one by one gives."""
    assert Headers(rules).route_message("", "", MessageProperties(headers)) == naive(rules, headers)


@given(st.dictionaries(st.text(max_size=3), st.none() | st.text() | st.floats() | st.binary() | st.lists(st.none())))
def test_no_header_raises(headers: dict[str, Any]) -> None:
    strategy = Headers([Rule({"": "x"}, "one"), Rule({"a": None}, "two")])
    assert strategy.route_message("", "", MessageProperties(headers)) in ("one", "two", None)


class Counting(dict[str, Any]):
    """Headers that count how often they are looked at."""

    looks = 0

    def get(self, name: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(name, default)


def test_thousands_of_rules_are_looked_up() -> None:
    rules = [Rule({"tenant": f"t{n}"}, f"upstream-{n}") for n in range(5000)]
    headers = Counting(tenant="t4999")
    assert Headers(rules).route_message("", "", MessageProperties(headers)) == "upstream-4999"
    assert headers.looks == 1


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({}, ("rules",), "Field required"),
        ({"rules": []}, ("rules",), "at least 1 item"),
        ({"rules": [{"match": {}, "upstream": "lapin"}]}, ("rules", 0), 'or "properties" with at least one name'),
        ({"rules": [{"upstream": "lapin"}]}, ("rules", 0), '"match" or "properties"'),
        (
            {"rules": [{"properties": {"colour": "x"}, "upstream": "lapin"}]},
            ("rules", 0, "properties", "colour", "[key]"),
            "'content_type', ",
        ),
        (
            {"rules": [{"properties": {"headers": None}, "upstream": "lapin"}]},
            ("rules", 0, "properties", "headers", "[key]"),
            "'content_type', ",
        ),
        (
            {"rules": [{"properties": {"priority": "9"}, "upstream": "lapin"}]},
            ("rules", 0, "properties"),
            'a whole number for the property "priority"',
        ),
        (
            {"rules": [{"properties": {"priority": True}, "upstream": "lapin"}]},
            ("rules", 0, "properties"),
            "a whole number",
        ),
        (
            {"rules": [{"properties": {"type": 1}, "upstream": "lapin"}]},
            ("rules", 0, "properties"),
            'a string for the property "type"',
        ),
        ({"rules": [{"match": {"a": 1}}]}, ("rules", 0, "upstream"), "Field required"),
        ({"rules": [{"match": {"a": 1}, "upstream": "wolf"}]}, ("rules", 0, "upstream"), "name of an upstream"),
        ({"rules": [{"match": {"a": [1]}, "upstream": "lapin"}]}, ("rules", 0, "match", "a"), "a string, a number"),
        ({"rules": [{"match": {"a": float("nan")}, "upstream": "lapin"}]}, ("rules", 0, "match", "a"), "a number"),
        ({"rules": [{"match": {"": 1}, "upstream": "lapin"}]}, ("rules", 0, "match", "", "[key]"), "1 to 255 octets"),
        ({"rules": [{"match": {"a": 1}, "any": 1, "upstream": "lapin"}]}, ("rules", 0, "any"), "valid boolean"),
        ({"rules": [{"match": {"a": 1}, "upstream": "lapin"}], "default": "wolf"}, ("default",), "name of an upstream"),
    ],
)
def test_wrong_options(options: dict[str, Any], path: tuple[str | int, ...], text: str) -> None:
    assert_refused("headers", options, path, text)
