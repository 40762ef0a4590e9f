"""A fan session one of whose upstreams, b, calls queues differently: messages whose headers name queues.

Covered: routing by headers, confirms, transactions, direct replies, held deliveries and turns, copies.
Not covered: what plain sessions have as well (test_renamed_headers.py), random schedules (tests/simulation).
"""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface import implementer

from tests.session.conftest import Opening
from tests.session.fans import ack, confirm, prefetch, transact
from tests.session.frames import Channel, Queue, Tx, channel_close, on, split
from tests.session.headed import LONG, Routes, consuming, death, delivered, in_pieces, publish
from tests.session.playbook import Playbook
from tests.session.test_renaming import Prefixed
from trabbits.interfaces import (
    Decision,
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IPropertyRoutingStrategy,
    MessageProperties,
    Mirrored,
)
from trabbits.log_ids import LogId


@implementer(IMessageRoutingStrategy)
class ByHeader:
    """The header `to` names the upstream."""

    header_names = ("to",)
    property_names = ()

    def route(self, exchange: str, routing_key: str) -> Decision:
        """See `IRoutingStrategy`."""
        return routing_key.partition(".")[0] if routing_key[1:2] == "." else None

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        """See `IMessageRoutingStrategy`."""
        return properties.headers.get("to")


@implementer(IPropertyRoutingStrategy)
class ByNamedHeader(ByHeader):
    """The same, and says so."""


@pytest.fixture
def fan(opened: Opening) -> Playbook:
    """Upstream b has other names; keys that begin with its name go there."""
    return opened("a", "b", rewriters={"b": Prefixed()}, routing=Routes())


def test_an_upstream_with_the_clients_names_gets_them(fan: Playbook) -> None:
    octets = publish("a.q", {"CC": ["r"], **death("")})
    fan.client(octets, octets)
    fan.expect_link("a", octets, octets)


@pytest.mark.parametrize("routing", [ByHeader, ByNamedHeader])
@pytest.mark.parametrize("size", [1, 25, 1000])
def test_where_headers_decide_where_a_message_goes(routing: type[Any], size: int, opened: Opening) -> None:
    play = opened("a", "b", rewriters={"b": Prefixed()}, routing=routing())
    mine = {"to": "b", "CC": ["r"]}
    one, other = publish("q", mine), publish("q", {**mine, "to": "a"})
    dead, plain = publish("k", {"to": "b", **death("")}, exchange="x"), publish("k", {"to": "b"}, exchange="x")
    in_pieces(play.session.client_received, one + other + dead + plain + one, size)
    play.do(lambda: None)
    renamed = publish("new.q", {**mine, "CC": ["new.r"]})
    play.expect_link("a", other)
    play.expect_link("b", renamed, publish("k", {"to": "b", **death("new.")}, exchange="x"), plain, renamed)


@pytest.mark.parametrize("cut", ["method", "header", "nowhere"])
def test_confirms_are_one_sequence(cut: str, fan: Playbook) -> None:
    """A publish that waits for its header is counted before those behind it."""
    confirm(fan)
    first = publish("b.q", {"CC": ["r"]})
    at = {"method": len(split(first)[0]), "header": len(split(first)[0]) + 9, "nowhere": 0}[cut]
    fan.client(first[:at])
    fan.client(first[at:], publish("a.q", None), publish("b.x", None, exchange="x"))
    fan.skip()
    fan.link("b", ack(2, multiple=True))
    fan.expect_client(ack(1), ack(3))
    fan.link("a", ack(1))
    fan.expect_client(ack(2))


def test_a_refused_publish_is_not_counted(fan: Playbook) -> None:
    confirm(fan)
    fan.client(publish("b.x", None, exchange="x"), publish("b.q", {"CC": [LONG]}), publish("b.x", None, exchange="x"))
    fan.expect_link(
        "b", publish("b.x", None, exchange="x"), channel_close(1, 200, "CHANNEL_CLOSED - error of the client")
    )
    assert fan.session.unconfirmed(fan.links["b"]) == 1
    fan.skip()


def test_transactions(fan: Playbook) -> None:
    transact(fan)
    fan.client(publish("b.q", {"CC": ["r"]}), publish("b.k", death(""), exchange="x"), on(1, Tx.Commit()))
    wanted = publish("new.b.q", {"CC": ["new.r"]}), publish("b.k", death("new."), exchange="x")
    fan.expect_link("b", *wanted, on(1, Tx.Commit()))
    fan.skip()


def test_a_channel_that_ends_between_method_and_header(fan: Playbook) -> None:
    """The link gets nothing of the message then."""
    method, *rest = split(publish("b.q", {"CC": ["r"]}))
    fan.client(method)
    fan.link("b", channel_close(1, 404, "NOT_FOUND - gone", Queue.Purge))
    fan.expect_link("b", on(1, Channel.CloseOk()))
    fan.skip()
    fan.client(*rest)
    fan.expect_link("b")
    fan.link("a", on(1, Channel.CloseOk()))
    fan.expect_client(channel_close(1, 404, "NOT_FOUND - gone", Queue.Purge))


@pytest.mark.parametrize("known", [False, True])
def test_a_direct_reply_with_further_keys(known: bool, fan: Playbook) -> None:
    """Each upstream that it goes to gets its own names."""
    key = "amq.rabbitmq.reply-to.process.key"
    if known:
        fan.session.settings.reply_keys.note(bytes((len(key),)) + key.encode(), "b")
    fan.client(publish(key, {"CC": ["r"]}))
    fan.expect_link("b", publish(key, {"CC": ["new.r"]}))
    fan.expect_link("a", *([] if known else [publish(key, {"CC": ["r"]})]))


def test_a_direct_reply_that_one_upstream_cannot_have_reaches_none(fan: Playbook) -> None:
    fan.client(publish("amq.rabbitmq.reply-to.process.key", {"CC": [LONG]}))
    fan.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    fan.skip()


def test_a_held_delivery_is_let_go_with_the_clients_names(fan: Playbook) -> None:
    prefetch(fan, 1)
    consuming(fan)
    fan.link("a", delivered(1, "q", None))
    fan.expect_client(delivered(1, "q", None))
    theirs, ours = {"CC": ["new.r"], **death("new.")}, {"CC": ["r"], **death("")}
    octets = delivered(1, "new.q", theirs)
    in_pieces(lambda piece: fan.session.link_received(fan.links["b"], piece), octets, 7)
    fan.link("b", delivered(2, "k", death("new."), exchange="x"))
    relay: Any = fan.session.relay
    assert relay._held_octets == len(delivered(1, "q", ours) + delivered(2, "k", death(""), exchange="x"))
    fan.client(ack(1))
    fan.expect_link("a", ack(1))
    fan.expect_client(delivered(2, "q", ours))
    fan.client(ack(2))
    fan.expect_link("b", ack(1))
    fan.expect_client(delivered(3, "k", death(""), exchange="x"))
    assert relay._held_octets == 0


@pytest.mark.parametrize("cut", ["method", "header", "body"])
def test_a_delivery_waits_for_its_turn(cut: str, fan: Playbook) -> None:
    """Whatever of it came before and what after."""
    consuming(fan)
    frames = split(delivered(1, "q", None))
    fan.link("a", frames[0])
    fan.expect_client(frames[0])
    octets = delivered(1, "k", death("new."), exchange="x") + delivered(2, "new.q", {"CC": ["new.r"]})
    parts = split(octets)
    at = sum(map(len, parts[: {"method": 1, "header": 2, "body": 3}[cut]])) + 4
    fan.link("b", octets[:at])
    fan.link("a", *frames[1:])
    wanted = delivered(2, "k", death(""), exchange="x") + delivered(3, "q", {"CC": ["r"]})
    fan.skip_client()
    fan.link("b", octets[at:])
    got = [(method.routing_key, octets) for _, method, octets in fan.messages("client")]
    assert got == [("q", b"body"), ("k", b"body"), ("q", b"body")]
    rest = b"".join(fan.taken("client"))
    assert wanted.endswith(rest)
    assert len(wanted) - len(rest) < at + 20


def test_a_delivery_for_nobody_goes_nowhere(fan: Playbook) -> None:
    consuming(fan)
    bye = channel_close(1, 200, "bye")
    fan.client(bye)
    fan.expect_links(bye)
    fan.link("b", delivered(1, "new.q", death("new.")))
    fan.expect_nothing()


# Copies


@implementer(IMirroringStrategy)
class Mirroring:
    """Keys such as a+b: to the first, and a copy to the second."""

    def route(self, exchange: str, routing_key: str) -> Decision:
        """See `IRoutingStrategy`."""
        first, _, second = routing_key.partition(".")[0].partition("+")
        return Mirrored(first, (second,))


@implementer(IMessageRoutingStrategy)
class MirroringByHeader(Mirroring):
    """The same, asked for every message."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        """See `IMessageRoutingStrategy`."""
        return self.route(exchange, routing_key)


COPIES = 2046


@pytest.mark.parametrize("routing", [Mirroring, MirroringByHeader])
@pytest.mark.parametrize("size", [7, 1000])
@pytest.mark.parametrize("rewriters", ["a", "b", "ab"])
def test_each_upstream_of_a_copy_gets_its_names(routing: Any, size: int, rewriters: str, fresh: Opening) -> None:
    prefixes = {name: f"{name}." if name in rewriters else "" for name in "ab"}
    play = fresh("a", "b", routing=routing(), rewriters={name: Prefixed(prefixes[name]) for name in rewriters})
    play.open(channel_max=COPIES - 1)
    play.open_channel(1)
    play.client(publish("a+b.q", None))
    play.skip()
    stream = publish("a+b.q", {"CC": ["r"], **death("")}) + publish("a+b.k", death(""), exchange="x")
    stream += publish("a+b.k", {"CC": ["r"]}, exchange="x")
    in_pieces(play.session.client_received, stream, size)
    play.do(lambda: None)
    for name, channel in (("a", 1), ("b", COPIES)):
        prefix = prefixes[name]
        play.expect_link(
            name,
            publish(f"{prefix}a+b.q", {"CC": [f"{prefix}r"], **death(prefix)}, channel=channel),
            publish("a+b.k", death(prefix), exchange="x", channel=channel),
            publish("a+b.k", {"CC": ["r"]}, exchange="x", channel=channel),
        )


def test_a_copy_with_a_key_that_its_upstream_cannot_have_is_dropped(fresh: Opening) -> None:
    play = fresh("a", "b", routing=Mirroring(), rewriters={"b": Prefixed()})
    play.open(channel_max=COPIES - 1)
    play.open_channel(1)
    octets = publish("a+b.q", {"CC": [LONG]})
    play.client(octets)
    play.expect_link("a", octets)
    mirroring: Any = play.session.mirroring
    assert mirroring.outcomes()["b"] == (0, 1)
    play.expect_log(LogId.COPY_DROPPED)
