"""A strategy that reads properties is asked once about a message, wherever that goes."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest
from zope.interface import implementer

from tests.session.conftest import Opening
from tests.session.fans import confirm
from tests.session.headed import in_pieces, publish
from tests.session.playbook import Playbook
from tests.session.test_renaming import Prefixed
from trabbits.interfaces import Decision, IMessageRoutingStrategy, IPropertyRoutingStrategy, MessageProperties


class Counting:
    """A strategy that counts how often it is asked."""

    asked = 0

    def route(self, exchange: str, routing_key: str) -> Decision:
        """See `IRoutingStrategy`."""
        raise AssertionError("asked without the message")


@implementer(IMessageRoutingStrategy)
class InTurn(Counting):
    """Answers differently each time."""

    def __init__(self) -> None:
        self._upstreams = cycle("ab")

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        """See `IMessageRoutingStrategy`."""
        self.asked += 1
        return next(self._upstreams)


@implementer(IPropertyRoutingStrategy)
class ByName(Counting):
    """Answers with a header, which it names."""

    header_names = ("to",)
    property_names = ()

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        """See `IMessageRoutingStrategy`."""
        self.asked += 1
        to: str = properties.headers["to"]
        return to


def sent(play: Playbook, octets: bytes, size: int) -> None:
    in_pieces(play.session.client_received, octets, size)
    play.do(lambda: None)
    play.skip()


@pytest.mark.parametrize("size", [7, 10_000])
@pytest.mark.parametrize("renaming", ["", "b", "ab"])
@pytest.mark.parametrize("exchange", ["", "x"])
def test_about_each_message(size: int, renaming: str, exchange: str, opened: Opening) -> None:
    """And its answer is followed, whether the content header was there with the method or came later."""
    routing = InTurn()
    play = opened("a", "b", routing=routing, rewriters={name: Prefixed() for name in renaming})
    for _ in range(10):
        sent(play, publish("q", None, exchange=exchange), size)
    assert routing.asked == 10
    assert [len(play.messages(name)) for name in "ab"] == [5, 5]


@pytest.mark.parametrize("size", [7, 10_000])
def test_about_a_message_for_a_missing_upstream(size: int, fresh: Opening) -> None:
    """It is rejected, not sent to the upstream that would have had its turn next."""
    routing = InTurn()
    play = fresh("a", "b", optional="b", routing=routing)
    play.open(missing="b")
    play.open_channel(1)
    confirm(play)
    for _ in range(10):
        sent(play, publish("k", None, exchange="x"), size)
    assert routing.asked == 10
    assert len(play.messages("a")) == 5


@pytest.mark.parametrize(("renaming", "missing"), [("", ""), ("b", ""), ("", "b")])
def test_about_all_messages_with_the_same_values(renaming: str, missing: str, fresh: Opening) -> None:
    routing = ByName()
    rewriters: Any = {name: Prefixed() for name in renaming}
    play = fresh("a", "b", optional="b", routing=routing, rewriters=rewriters)
    play.open(missing=missing)
    play.open_channel(1)
    confirm(play)
    for to in "abab":
        for _ in range(5):
            sent(play, publish("q", {"to": to}), 10_000)
    assert routing.asked == 2
    assert [len(play.messages(name)) for name in "ab"] == [10, 0 if missing else 10]
