"""`RoutingStrategyTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, making, rules_of
from trabbits.interfaces import (
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IPropertyRoutingStrategy,
    IRoutingStrategy,
    MessageProperties,
    Mirrored,
)
from trabbits.testing.contracts import PluginTestsMixIn, RoutingStrategyTestsMixIn

case = making(RoutingStrategyTestsMixIn, messages=[MessageProperties({"tenant": "acme"}, type="order")])


@implementer(IRoutingStrategy)
class Sound:
    def route(self, exchange: str, routing_key: str) -> Any:
        return "new" if routing_key.startswith("order") else None


@implementer(IMessageRoutingStrategy)
class SoundReader(Sound):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        return "new" if properties.headers.get("tenant") == "acme" else None


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

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        time.sleep(0.03)


class Silent(Sound):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        return None


class ReaderToTheMoon(SoundReader):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        return "moon" if "tenant" in properties.headers else None


class OnlyTexts(SoundReader):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        return "old" if properties.headers.get("tenant", "").startswith("a") else None


class WantsADict(SoundReader):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        properties.headers.copy()  # type: ignore[attr-defined]  # it is none


@implementer(IPropertyRoutingStrategy)
class SoundNamer(SoundReader):
    header_names: Any = ("tenant",)
    property_names: Any = ()


class NamesOther(SoundNamer):
    header_names = ("customer",)


class ReadsType(SoundNamer):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        return "new" if properties.type == "order" else None


class SoundNamerOfType(ReadsType):
    header_names = ()
    property_names = ("type",)


class NamesHeaders(SoundNamer):
    property_names = ("type", "headers")


class NamesLetters(SoundNamer):
    header_names = "tenant"


class NamesNothing(SoundNamer):
    header_names = ("tenant", "")


class Meddler(SoundReader):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        for value in properties.headers.values():
            if isinstance(value, list):
                value.append("was here")


class CollectorOfHeaders(SoundReader):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        self.seen.append(properties.headers)


class TypeToTheMoon(SoundReader):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        return "moon" if properties.type else None


class ShortTimes(SoundReader):
    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        return "old" if datetime.fromtimestamp(properties.timestamp or 0, UTC).year > 2000 else None


class Collector(SoundReader):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        properties.headers.get("tenant")
        self.seen.append(properties)


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
    Wrong("test_reading_properties_is_declared", "does not provide IMessageRoutingStrategy", case(Silent)),
    Wrong(MESSAGES, "answered 'moon'", case(ReaderToTheMoon)),
    Wrong(MESSAGES, "answered 'moon'", case(TypeToTheMoon)),
    Wrong("test_properties_that_are_not_named_do_not_matter", "besides {'tenant': 'acme'}", case(NamesOther)),
    Wrong("test_properties_that_are_not_named_do_not_matter", "with {'type': 'order'}", case(ReadsType)),
    Wrong("test_headers_are_left_alone", "changes the headers", case(Meddler)),
    Wrong("test_properties_are_not_kept", "keeps the properties", case(Collector)),
    Wrong("test_properties_are_not_kept", "keeps the properties", case(CollectorOfHeaders)),
    Wrong("test_routing_by_properties_does_not_block", "it must not block", case(Sleepy)),
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
        (MESSAGES, ShortTimes, (ValueError, OverflowError)),
    ],
)
def test_what_raises_is_seen_with_its_traceback(rule: str, plugin: Any, error: Any) -> None:
    with pytest.raises(error):
        getattr(case(plugin)(), rule)()


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(RoutingStrategyTestsMixIn, PluginTestsMixIn)


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        (NamesLetters, "expected a collection of names"),
        (NamesNothing, "has '', which is no name of a header"),
        (NamesHeaders, "has 'headers', which is no name of a property, or has names of its own"),
    ],
)
def test_names_are_names(plugin: Any, why: str) -> None:
    assert_noticed(Wrong("test_it_fits_its_interface", why, case(plugin)))


@pytest.mark.parametrize("plugin", [Sound, SoundReader, SoundNamer, SoundNamerOfType, SoundMirror])
@pytest.mark.parametrize("rule", sorted(rules_of(RoutingStrategyTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str, plugin: Any) -> None:
    getattr(case(plugin)(), rule)()
