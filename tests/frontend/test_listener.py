"""The factory of clients: sessions come and go, and all of them can be closed."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pamqp import commands, frame
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.frontend.doubles import PLAIN, SocketDouble
from tests.frontend.test_admission import DataPolicy, Policy
from trabbits.frontend.admission import NamedPolicy
from trabbits.frontend.draining import Pace
from trabbits.frontend.listener import ClientFactory
from trabbits.frontend.protocol import ClientProtocol, address_text
from trabbits.plugins.key_patterns import KeyPatterns
from trabbits.session.phase import Phase
from trabbits.session.settings import SessionSettings, UpstreamSettings
from trabbits.wire.constants import PROTOCOL_HEADER

SETTINGS = SessionSettings(
    upstreams=(UpstreamSettings("a"),), routing=KeyPatterns([]), heartbeat=0, mechanisms=(PLAIN,)
)


class Listener:
    """A factory with clients that the test plays."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.factory = ClientFactory(lambda: SETTINGS, dict, self.clock)

    def connect(self) -> tuple[ClientProtocol, SocketDouble]:
        transport = SocketDouble(peerAddress=cast(Any, IPv4Address("TCP", "192.0.2.7", 40000)))
        protocol = self.factory.buildProtocol(None)
        protocol.makeConnection(transport)
        return protocol, transport


def lose(protocol: ClientProtocol) -> None:
    protocol.connectionLost(Failure(ConnectionDone()))


def test_a_session_for_each_client_while_it_is_there() -> None:
    listener = Listener()
    (first, _), (second, _) = listener.connect(), listener.connect()
    assert len(listener.factory.sessions) == 2
    for session_id, runner in listener.factory.sessions.items():
        assert runner.session.id == session_id
        assert session_id.startswith("proxy-")
        assert runner.session.address == "192.0.2.7:40000"
    lose(first)
    assert len(listener.factory.sessions) == 1
    lose(second)
    assert listener.factory.sessions == {}
    assert listener.clock.getDelayedCalls() == []


PACE = Pace(10, 100, 10.0)


def test_closing_nobody_is_done_at_once() -> None:
    listener = Listener()
    assert listener.factory.close_sessions(320, "bye", PACE) == 0
    assert listener.factory.when_empty().called
    assert listener.factory.abort_all() == 0
    assert listener.clock.getDelayedCalls() == []


def open_session(listener: Listener, protocol: ClientProtocol) -> None:
    """As if its handshake was over."""
    for runner in listener.factory.sessions.values():
        if runner.client_received == protocol.dataReceived:
            runner.session.phase = Phase.RUNNING


def test_closing_all_waits_for_the_last_one() -> None:
    """Who is open is told; who has not come so far yet is told, or let go without a word, when the time is over."""
    listener = Listener()
    (talker, heard), (silent, silence) = listener.connect(), listener.connect()
    talker.dataReceived(PROTOCOL_HEADER)
    open_session(listener, talker)
    heard.clear()
    assert listener.factory.close_sessions(320, "CONNECTION_FORCED - bye", Pace(10, 100, 2.0)) == 2
    done = listener.factory.when_empty()
    close = frame.unmarshal(heard.value())[2]
    assert isinstance(close, commands.Connection.Close)
    assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - bye")
    assert not silence.half_closed
    talker.dataReceived(frame.marshal(commands.Connection.CloseOk(), 0))
    assert heard.half_closed
    lose(talker)
    assert not done.called
    listener.clock.advance(2.0)
    assert silence.value() == b""
    assert silence.half_closed
    lose(silent)
    assert done.called
    assert not listener.factory.draining
    assert listener.clock.getDelayedCalls() == []


def test_closing_some() -> None:
    """The others stay, also those that were about to be closed before."""
    listener = Listener()
    clients = [listener.connect() for _ in range(3)]
    runners = list(listener.factory.sessions.values())
    assert listener.factory.close_sessions(320, "bye", PACE) == 3
    assert listener.factory.close_sessions(320, "bye", PACE, lambda runner: runner is runners[1]) == 1
    listener.clock.advance(4.0)
    assert [transport.half_closed for _, transport in clients] == [False] * 3
    for client, _ in clients:
        lose(client)
    assert listener.clock.getDelayedCalls() == []


def test_dropping_all() -> None:
    listener = Listener()
    protocol, transport = listener.connect()
    protocol.dataReceived(PROTOCOL_HEADER)
    listener.factory.close_sessions(320, "bye", PACE)
    done = listener.factory.when_empty()
    assert listener.factory.abort_all() == 1
    assert transport.aborted
    lose(protocol)
    assert done.called
    assert listener.factory.sessions == {}
    assert listener.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPv4Address("TCP", "192.0.2.7", 40000), "192.0.2.7:40000"),
        (IPv6Address("TCP", "2001:db8::7", 40000), "[2001:db8::7]:40000"),
        (UNIXAddress("/tmp/client.sock"), "unix"),
        (UNIXAddress(None), "unix"),
    ],
)
def test_addresses_for_people(address: IAddress, text: str) -> None:
    assert address_text(address) == text


@pytest.mark.parametrize("metered", [False, True])
def test_sessions_get_the_policies_of_their_time(metered: bool) -> None:
    """What is configured later is asked about later clients only."""
    clock, policies = Clock(), cast("list[NamedPolicy]", [])
    factory = ClientFactory(lambda: SETTINGS, dict, clock, lambda: list(policies))
    protocols = []
    for _ in range(2):
        protocols.append(factory.buildProtocol(None))
        protocols[-1].makeConnection(SocketDouble(peerAddress=cast(Any, IPv4Address("TCP", "192.0.2.7", 40000))))
        policies.append(("p", DataPolicy() if metered else Policy()))
    before, after = factory.sessions.values()
    assert (before.session.guarded, after.session.guarded) == (False, True)
    assert protocols[0].dataReceived == before.client_received
    assert (protocols[1].dataReceived == after.client_received) is not metered
    for each in protocols:
        lose(each)
