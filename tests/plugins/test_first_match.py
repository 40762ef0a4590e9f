"""The plugin `first_match`: whom it asks, when it reads headers, what it says about parts that fail; its options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import assert_refused, make
from trabbits.interfaces import IMessageRoutingStrategy, IPropertyRoutingStrategy, IRoutingStrategy, MessageProperties
from trabbits.plugins import catalogue
from trabbits.plugins.catalogue import Catalogue, Found
from trabbits.plugins.combining import PartFailed
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions
from trabbits.plugins.first_match import (
    NESTING_MAX,
    FirstMatch,
    FirstMatchByMessage,
    FirstMatchOptions,
    first_match,
)
from trabbits.plugins.mirror import MirrorByMessage, Wishes
from trabbits.plugins.sticky import POINTS

BY_EXCHANGE = {"plugin": "exchange", "options": {"rules": [{"exchange": "orders", "upstream": "lapin"}]}}
BY_HEADER = {"plugin": "headers", "options": {"rules": [{"match": {"vip": True}, "upstream": "rabbit"}]}}
BY_KEY = {"plugin": "key_patterns"}


@implementer(IRoutingStrategy)
class Says:
    """Has one answer, or an exception, and counts how often it is asked."""

    def __init__(self, answer: str | BaseException | None) -> None:
        self._answer = answer
        self.asked = 0

    def route(self, exchange: str, routing_key: str) -> str | None:
        self.asked += 1
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


@implementer(IMessageRoutingStrategy)
class SaysHeader(Says):
    """Answers with the header "to" if there is one."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        return properties.headers.get("to", self.route(exchange, routing_key))


def test_without_a_part_that_reads_properties_it_reads_none() -> None:
    strategy = make("first_match", {"strategies": [BY_EXCHANGE, BY_KEY]})
    verifyObject(IRoutingStrategy, strategy)
    assert not IMessageRoutingStrategy.providedBy(strategy)
    routes = [strategy.route(*message) for message in (("orders", "hop.x"), ("bills", "hop.x"), ("bills", "x"))]
    assert routes == ["lapin", "hase", None]


@pytest.mark.parametrize("nested", [False, True])
def test_with_one_it_reads_them(nested: bool) -> None:
    """... also if the part stands deeper."""
    header = {"plugin": "first_match", "options": {"strategies": [BY_HEADER]}} if nested else BY_HEADER
    strategy = make("first_match", {"strategies": [BY_EXCHANGE, header, BY_KEY]})
    verifyObject(IMessageRoutingStrategy, strategy)
    assert strategy.route_message("orders", "hop", MessageProperties({"vip": True})) == "lapin"
    assert strategy.route_message("bills", "hop", MessageProperties({"vip": True})) == "rabbit"
    assert strategy.route_message("bills", "hop", MessageProperties()) == "hase"
    assert strategy.route_message("bills", "x", MessageProperties()) is None
    assert strategy.route("bills", "hop") == "hase"
    assert strategy.route("bills", "x") is None


answers = st.sampled_from([None, "a", "b"])


@given(st.lists(st.tuples(st.booleans(), answers), max_size=5), st.sampled_from([{}, {"to": "c"}]))
def test_the_first_opinion_counts(parts: list[tuple[bool, str | None]], headers: dict[str, Any]) -> None:
    made = [(str(n), (SaysHeader if reads else Says)(answer)) for n, (reads, answer) in enumerate(parts)]
    assert FirstMatch(made).route("e", "k") == next((answer for _, answer in parts if answer), None)
    opinions = (headers.get("to", answer) if reads else answer for reads, answer in parts)
    expected = next((opinion for opinion in opinions if opinion), None)
    assert FirstMatchByMessage(made).route_message("e", "k", MessageProperties(headers)) == expected


def test_parts_behind_the_first_opinion_are_not_asked() -> None:
    last = Says("b")
    assert FirstMatch([("first", Says("a")), ("last", last)]).route("e", "k") == "a"
    assert last.asked == 0


def test_what_reads_no_headers_is_asked_once() -> None:
    """Among parts that do, its answers are remembered, as a session would do it."""
    plain, reading = Says("a"), SaysHeader(None)
    strategy = FirstMatchByMessage([("reading", reading), ("plain", plain)])
    assert {strategy.route_message("e", "k", MessageProperties()) for _ in range(10)} == {"a"}
    assert (reading.asked, plain.asked) == (10, 1)


@pytest.mark.parametrize("error", [LookupError("what"), SystemExit("what")])
def test_a_part_that_raises_is_named(error: BaseException) -> None:
    parts = [("fine", SaysHeader(None)), ('strategies[1] "odd"', Says(error))]
    for _ in range(2):
        told = rf'^strategies\[1\] "odd" failed: {type(error).__name__}: what$'
        with pytest.raises(PartFailed, match=told) as caught:
            FirstMatchByMessage(parts).route_message("e", "k", MessageProperties())
        assert caught.value.__cause__ is error
        with pytest.raises(PartFailed, match="odd"):
            FirstMatch(parts).route("e", "k")


def test_an_operator_who_interrupts_is_no_part_that_raises() -> None:
    with pytest.raises(KeyboardInterrupt):
        FirstMatch([("part", Says(KeyboardInterrupt()))]).route("e", "k")


def nest(depth: int) -> dict[str, Any]:
    options: dict[str, Any] = {"strategies": [BY_KEY]}
    for _ in range(depth - 1):
        options = {"strategies": [BY_KEY, {"plugin": "first_match", "options": options}]}
    return options


def test_nesting_is_bounded() -> None:
    assert make("first_match", nest(NESTING_MAX)).route("", "hop.x") == "hase"
    assert_refused("first_match", nest(NESTING_MAX + 1), ("strategies",), f"at most {NESTING_MAX} deep")
    assert_refused("first_match", nest(200), ("strategies",), f"at most {NESTING_MAX} deep")


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({}, ("strategies",), "Field required"),
        ({"strategies": []}, ("strategies",), "at least 1 item"),
        ({"strategies": ["exchange"]}, ("strategies", 0), "valid dictionary"),
        ({"strategies": [{"plugin": ""}]}, ("strategies", 0, "plugin"), "at least 1 character"),
        ({"strategies": [{"plugin": "exchange", "option": {}}]}, ("strategies", 0, "option"), "Extra inputs"),
    ],
)
def test_wrong_options(options: dict[str, Any], path: tuple[str | int, ...], text: str) -> None:
    assert_refused("first_match", options, path, text)


def test_wrong_options_of_parts() -> None:
    """All of them at once, each with its place, and without the values."""
    options = {
        "strategies": [
            BY_KEY,
            {"plugin": "wolf"},
            {"plugin": "hash", "options": {"upstreams": ["hunter2"], "more": 1}},
        ]
    }
    with pytest.raises(ValueError) as caught:
        make("first_match", options)
    text = str(caught.value)
    assert 'strategies[1] "wolf": the name of a routing plugin' in text
    assert 'strategies[2].upstreams[0]: expected the name of an upstream: "rabbit", "lapin", "hase"' in text
    assert "strategies[2].more: Extra inputs are not permitted" in text
    assert "hunter2" not in text


def test_where_nothing_makes_strategies() -> None:
    with pytest.raises(ValueError, match="nothing here makes"):
        first_match.make(FirstMatchOptions.model_validate({"strategies": [BY_KEY]}), PluginContext())


class SecretOptions(PluginOptions):
    """Has a secret."""

    password: SecretStr
    """It."""


def test_secrets_of_parts_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where options are shown, parts show theirs as they would by themselves."""
    secret = Plugin("secret", IRoutingStrategy, SecretOptions, lambda _, __: Says("a"))
    monkeypatch.setattr(catalogue, "discover", lambda: Catalogue([Found(secret, "here"), Found(first_match, "")], []))
    part = {"plugin": "secret", "options": {"password": "hunter2"}}
    nested = {
        "plugin": "first_match",
        "options": {"strategies": [part, {"plugin": "gone", "options": {"x": "hunter2"}}]},
    }
    shown = FirstMatchOptions.model_validate({"strategies": [part, nested]}).model_dump(mode="json")
    assert "hunter2" not in str(shown)
    assert shown["strategies"][0] == {"plugin": "secret", "options": {"password": "**********"}}


parts_of_any_kind = st.recursive(
    st.none() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["strategies", "plugin", "options"]), inner | st.just("first_match"))
    ),
)


@given(parts_of_any_kind | st.lists(st.fixed_dictionaries({"plugin": st.text(), "options": parts_of_any_kind})))
def test_any_options_give_a_strategy_or_a_value_error(parts: Any) -> None:
    """Whatever JSON stands there; pydantic's errors are value errors as well."""
    try:
        strategy = make("first_match", {"strategies": parts})
    except ValueError:
        return
    verifyObject(IRoutingStrategy, strategy)


@implementer(IPropertyRoutingStrategy)
class NamesHeader(SaysHeader):
    """Says that it is "to", or else the type."""

    header_names = ("to",)
    property_names = ("type",)


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ([Says, NamesHeader], ("to",)),
        ([NamesHeader, NamesHeader], ("to",)),
        ([NamesHeader, SaysHeader], None),
        ([SaysHeader], None),
    ],
)
def test_it_names_properties_if_all_parts_that_read_them_do(
    parts: list[type[Says]], names: tuple[str, ...] | None
) -> None:
    strategy = FirstMatchByMessage([(str(number), part(None)) for number, part in enumerate(parts)])
    assert IPropertyRoutingStrategy.providedBy(strategy) == (names is not None)
    assert getattr(strategy, "header_names", None) == names
    assert getattr(strategy, "property_names", None) == (None if names is None else ("type",))
    mirrored = MirrorByMessage("first", strategy, Wishes(("b",), POINTS, 100))
    assert IPropertyRoutingStrategy.providedBy(mirrored) == (names is not None)
    assert getattr(mirrored, "header_names", None) == names
    assert getattr(mirrored, "property_names", None) == (None if names is None else ("type",))


def test_with_the_built_in_ones_properties_are_named_once() -> None:
    rules = [
        {"match": {"a": 1, "b": None}, "upstream": "lapin"},
        {"match": {"a": 2}, "properties": {"app_id": "shop"}, "upstream": "hase"},
    ]
    both = {"strategies": [BY_HEADER, {"plugin": "headers", "options": {"rules": rules}}, BY_KEY]}
    strategy = make("first_match", both)
    verifyObject(IPropertyRoutingStrategy, strategy)
    assert (strategy.header_names, strategy.property_names) == (("vip", "a", "b"), ("app_id",))
