"""`RoutingStrategyTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, making, rules_of
from trabbits.interfaces import (
    IHeaderRoutingStrategy,
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IRoutingStrategy,
    Mirrored,
)
from trabbits.testing.contracts import PluginTestsMixIn, RoutingStrategyTestsMixIn

case = making(RoutingStrategyTestsMixIn, headers=[{"tenant": "acme"}])


@implementer(IRoutingStrategy)
class Sound:
    def route(self, exchange: str, routing_key: str) -> Any:
        return "new" if routing_key.startswith("order") else None


@implementer(IMessageRoutingStrategy)
class SoundReader(Sound):
    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Any:
        return "new" if headers.get("tenant") == "acme" else None


class ToTheMoon(Sound):
    def route(self, exchange: str, routing_key: str) -> Any:
        return "moon"


class Later(Sound):
    def route(self, exchange: str, routing_key: str) -> Deferred[str]:
        return succeed("old")


class WithoutSurrogates(Sound):
    def route(self, exchange: str, routing_key: str) -> Any:
        return "old" if routing_key.encode() else None


class WithAWord(Sound):
    def route(self, exchange: str, routing_key: str) -> Any:
        return "old" if routing_key[0] == "a" else None


@implementer(IMirroringStrategy)
class SoundMirror(Sound):
    def route(self, exchange: str, routing_key: str) -> Any:
        return Mirrored("old", ["new"])


class SilentMirror(Sound):
    route = SoundMirror.route


class MirrorToTheMoon(SoundMirror):
    def route(self, exchange: str, routing_key: str) -> Any:
        return Mirrored(None, ["new", "moon"])


class MirrorFromTheMoon(SoundMirror):
    def route(self, exchange: str, routing_key: str) -> Any:
        return Mirrored("moon", ["new"])


class MirrorOfNoSize(SoundMirror):
    def route(self, exchange: str, routing_key: str) -> Any:
        return Mirrored("old", ["new"], -1)


class Turns(Sound):
    turn = False

    def route(self, exchange: str, routing_key: str) -> Any:
        self.turn = not self.turn
        return "old" if self.turn else "new"


class Sleepy(SoundReader):
    def route(self, exchange: str, routing_key: str) -> Any:
        time.sleep(0.03)

    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Any:
        time.sleep(0.03)


class Silent(Sound):
    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Any:
        return None


class ReaderToTheMoon(SoundReader):
    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Any:
        return "moon" if "tenant" in headers else None


class OnlyTexts(SoundReader):
    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Any:
        return "old" if headers.get("tenant", "").startswith("a") else None


class WantsADict(SoundReader):
    def route_message(self, exchange: str, routing_key: str, headers: Any) -> Any:
        headers.copy()


@implementer(IHeaderRoutingStrategy)
class SoundNamer(SoundReader):
    header_names: Any = ("tenant",)


class NamesOther(SoundNamer):
    header_names = ("customer",)


class NamesLetters(SoundNamer):
    header_names = "tenant"


class NamesNothing(SoundNamer):
    header_names = ("tenant", "")


class Meddler(SoundReader):
    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Any:
        for value in headers.values():
            if isinstance(value, list):
                value.append("was here")


class Collector(SoundReader):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Any:
        headers.get("tenant")
        self.seen.append(headers)


ANSWERS = "test_answers_name_upstreams"
MESSAGES = "test_answers_for_messages_name_upstreams"
WRONG = [
    Wrong(ANSWERS, "answered 'moon', which is none of ['old', 'new']", case(ToTheMoon)),
    Wrong(ANSWERS, "neither a name nor None", case(Later)),
    Wrong(ANSWERS, "does not provide IMirroringStrategy", case(SilentMirror)),
    Wrong(ANSWERS, "wants copies at ['moon']", case(MirrorToTheMoon)),
    Wrong(ANSWERS, "answered 'moon'", case(MirrorFromTheMoon)),
    Wrong(ANSWERS, "of at most -1 octets", case(MirrorOfNoSize)),
    Wrong("test_the_same_key_gets_the_same_answer", " now", case(Turns)),
    Wrong("test_routing_does_not_block", "it must not block", case(Sleepy)),
    Wrong("test_reading_headers_is_declared", "does not provide IMessageRoutingStrategy", case(Silent)),
    Wrong(MESSAGES, "answered 'moon'", case(ReaderToTheMoon)),
    Wrong("test_headers_that_are_not_named_do_not_matter", "besides {'tenant': 'acme'}", case(NamesOther)),
    Wrong("test_headers_are_left_alone", "changes the headers", case(Meddler)),
    Wrong("test_headers_are_not_kept", "keeps the headers", case(Collector)),
    Wrong("test_routing_by_headers_does_not_block", "it must not block", case(Sleepy)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


@pytest.mark.parametrize(
    ("rule", "plugin", "error"),
    [
        (ANSWERS, WithoutSurrogates, UnicodeEncodeError),
        (ANSWERS, WithAWord, IndexError),
        (MESSAGES, OnlyTexts, AttributeError),
        (MESSAGES, WantsADict, AttributeError),
    ],
)
def test_what_raises_is_seen_with_its_traceback(rule: str, plugin: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        getattr(case(plugin)(), rule)()


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(RoutingStrategyTestsMixIn, PluginTestsMixIn)


@pytest.mark.parametrize(
    ("plugin", "why"),
    [(NamesLetters, "expected a collection of names"), (NamesNothing, "has '', which is no name of a header")],
)
def test_names_of_headers_are_names(plugin: Any, why: str) -> None:
    assert_noticed(Wrong("test_it_fits_its_interface", why, case(plugin)))


@pytest.mark.parametrize("plugin", [Sound, SoundReader, SoundNamer, SoundMirror])
@pytest.mark.parametrize("rule", sorted(rules_of(RoutingStrategyTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str, plugin: Any) -> None:
    getattr(case(plugin)(), rule)()
