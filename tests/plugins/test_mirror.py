"""The plugin `mirror`: what it adds to the decision of another strategy, and its options."""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface import implementer, providedBy
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import assert_refused, make
from trabbits.interfaces import (
    COPY_MAX,
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IRoutingStrategy,
    MessageProperties,
    Mirrored,
)
from trabbits.plugins.combining import PartFailed
from trabbits.plugins.first_match import FirstMatch
from trabbits.plugins.mirror import Mirror, MirrorByMessage, Wishes
from trabbits.plugins.sticky import POINTS

RULES = [{"match": {"vip": True}, "upstream": "lapin"}]
BY_HEADER = {"plugin": "headers", "options": {"rules": RULES, "default": "hase"}}


def test_fulfils_its_interfaces() -> None:
    strategy = make("mirror", {"to": "lapin"})
    verifyObject(IRoutingStrategy, strategy)
    verifyObject(IMirroringStrategy, strategy)
    assert not IMessageRoutingStrategy.providedBy(strategy)
    by_message = make("mirror", {"to": "lapin", "routing": BY_HEADER})
    verifyObject(IMessageRoutingStrategy, by_message)
    verifyObject(IMirroringStrategy, by_message)


def test_another_strategy_decides() -> None:
    """By default `key_patterns`; what that has no opinion about is copied as well."""
    strategy = make("mirror", {"to": "lapin", "max_size": 100})
    assert strategy.route("x", "hop.1") == Mirrored("hase", ("lapin",), 100)
    assert strategy.route("x", "else") == Mirrored(None, ("lapin",), 100)
    by_exchange = {"plugin": "exchange", "options": {"rules": [{"exchange": "x", "upstream": "rabbit"}]}}
    strategy = make("mirror", {"to": ["lapin", "hase"], "routing": by_exchange})
    assert strategy.route("x", "k") == Mirrored("rabbit", ("lapin", "hase"), COPY_MAX)


def test_where_a_message_belongs_it_is_not_copied_to() -> None:
    assert make("mirror", {"to": "hase"}).route("x", "hop.1") == "hase"
    assert make("mirror", {"to": ["hase", "lapin"]}).route("x", "hop.1") == Mirrored("hase", ("lapin",))


def test_a_strategy_that_reads_headers_decides() -> None:
    strategy = make("mirror", {"to": "lapin", "routing": BY_HEADER})
    assert strategy.route_message("x", "k", MessageProperties()) == Mirrored("hase", ("lapin",))
    assert strategy.route_message("x", "k", MessageProperties({"vip": True})) == "lapin"
    assert strategy.route("x", "k") == Mirrored("hase", ("lapin",))


def test_the_share_that_is_copied_is_one_of_keys() -> None:
    """A key is copied always or never; with more per cent no key is lost."""
    keys = [f"order.{number}" for number in range(20_000)]
    ten, thirty = ({key for key in keys if copies(percent, key)} for percent in (10, 30))
    assert len(ten) / len(keys) == pytest.approx(0.1, abs=0.005)
    assert len(thirty) / len(keys) == pytest.approx(0.3, abs=0.01)
    assert ten < thirty
    assert not any(copies(0, key) for key in keys)
    assert all(copies(100, key) for key in keys)


STRATEGIES = {percent: make("mirror", {"to": "lapin", "percent": percent}) for percent in (0, 10, 30, 50, 100)}


def copies(percent: int, key: str) -> bool:
    return isinstance(STRATEGIES[percent].route("x", key), Mirrored)


def test_which_keys_these_are_never_changes() -> None:
    """Not from one version of trabbits to the next: half of these."""
    keys = ("", "a", "b", "c", "order.created", "kunde.ü", "\udcff")
    assert [copies(50, key) for key in keys] == [
        False,
        False,
        False,
        True,
        False,
        False,
        False,
    ]


def test_the_share_has_nothing_to_do_with_shares_of_weighted() -> None:
    """Of each upstream's keys the same part is copied."""
    weighted = {"plugin": "weighted", "options": {"weights": {"rabbit": 50, "hase": 50}}}
    strategy = make("mirror", {"to": "lapin", "percent": 50, "routing": weighted})
    answers = [strategy.route("x", str(number)) for number in range(20_000)]
    copied = [answer for answer in answers if isinstance(answer, Mirrored)]
    to_rabbit = sum(answer.upstream == "rabbit" for answer in copied) / len(copied)
    assert to_rabbit == pytest.approx(0.5, abs=0.02)


def test_mirrors_in_each_other() -> None:
    """All copies, of what is small enough for both."""
    inner = {"plugin": "mirror", "options": {"to": ["rabbit", "hase"], "max_size": 10}}
    strategy = make("mirror", {"to": ["lapin", "rabbit"], "routing": inner})
    assert strategy.route("x", "hop.1") == Mirrored("hase", ("rabbit", "lapin"), 10)


def test_first_match_of_mirrors() -> None:
    """It says that it mirrors if one of its strategies does, and passes on what that decides."""
    parts = [{"plugin": "mirror", "options": {"to": "lapin", "percent": 50}}, {"plugin": "key_patterns"}]
    strategy = make("first_match", {"strategies": parts})
    assert IMirroringStrategy.providedBy(strategy)
    assert not IMirroringStrategy.providedBy(make("first_match", {"strategies": parts[1:]}))
    answers = [strategy.route("x", f"hop.{number}") for number in range(20)]
    assert set(answers) == {"hase", Mirrored("hase", ("lapin",))}
    by_header = {"plugin": "headers", "options": {"rules": RULES}}
    by_message = make("first_match", {"strategies": [by_header, *parts]})
    assert {IMirroringStrategy, IMessageRoutingStrategy} <= set(providedBy(by_message).flattened())
    assert {by_message.route_message("x", f"hop.{number}", MessageProperties()) for number in range(20)} == set(answers)


@implementer(IMessageRoutingStrategy)
class Fails:
    def route(self, exchange: str, routing_key: str) -> str | None:
        raise LookupError("gone")

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        raise SystemExit("gone")


def test_an_error_names_the_strategy_that_raised() -> None:
    wishes = Wishes(("lapin",), POINTS, COPY_MAX)
    with pytest.raises(PartFailed, match=r'routing "x" failed: LookupError: gone'):
        Mirror('routing "x"', Fails(), wishes).route("", "")
    with pytest.raises(PartFailed, match=r'routing "x" failed: SystemExit: gone'):
        MirrorByMessage('routing "x"', Fails(), wishes).route_message("", "", MessageProperties())
    with pytest.raises(PartFailed, match=r'first failed: PartFailed: routing "x" failed'):
        FirstMatch([("first", Mirror('routing "x"', Fails(), wishes))]).route("", "")


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({}, ("to",), "required"),
        ({"to": "fuchs"}, ("to", 0), "expected the name of an upstream"),
        ({"to": ["lapin", "fuchs"]}, ("to", 1), "expected the name of an upstream"),
        ({"to": []}, ("to",), "at least 1"),
        ({"to": ["lapin", "lapin"]}, ("to",), "expected each upstream once"),
        ({"to": 5}, ("to",), "list"),
        ({"to": "lapin", "percent": 100.5}, ("percent",), "100"),
        ({"to": "lapin", "percent": -1}, ("percent",), "0"),
        ({"to": "lapin", "max_size": 16 * 1024 * 1024 + 1}, ("max_size",), "16777216"),
        ({"to": "lapin", "routing": {"plugin": ""}}, ("routing", "plugin"), "1"),
    ],
)
def test_wrong_options(options: dict[str, Any], path: tuple[str | int, ...], text: str) -> None:
    assert_refused("mirror", options, path, text)


def test_wrong_options_of_the_strategy_that_decides() -> None:
    with pytest.raises(ValueError, match=r"routing\.weights: expected weights with a sum of 100, not 1"):
        make("mirror", {"to": "lapin", "routing": {"plugin": "weighted", "options": {"weights": {"hase": 1}}}})
    with pytest.raises(ValueError, match=r'routing "nope": '):
        make("mirror", {"to": "lapin", "routing": {"plugin": "nope"}})
