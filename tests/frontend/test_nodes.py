"""Clients of an upstream with several nodes: a whole session with real links, at scripted nodes on a clock."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands, frame

from tests.frontend.doubles import PLAIN, START_OK, SocketDouble
from tests.upstream.network import Network, at
from trabbits.frontend.client_transport import ClientTransport
from trabbits.frontend.runner import SessionRunner
from trabbits.plugins.key_patterns import KeyPatterns
from trabbits.session.session import Session
from trabbits.session.settings import SessionSettings, UpstreamSettings
from trabbits.upstream.upstream import Upstream
from trabbits.wire.constants import PROTOCOL_HEADER


class Client:
    """A client of a proxy whose only upstream is `upstream`; `heard` are the names of the methods it got."""

    def __init__(self, network: Network, upstream: Upstream) -> None:
        self.network = network
        self.transport = SocketDouble()
        self.heard: list[str] = []
        settings = SessionSettings(
            (UpstreamSettings("primary"),), KeyPatterns([("primary", ["#"])]), heartbeat=0, mechanisms=(PLAIN,)
        )
        session = Session("proxy-1", "192.0.2.1:50000", settings, network.note)
        transport = ClientTransport(self.transport, network, lambda: None, lambda: None)
        self.runner = SessionRunner(session, transport, {"primary": upstream}, network, lambda: None)
        self.runner.client_connected()

    def send(self, *said: Any) -> list[str]:
        """Say something and let everybody answer; the names of the methods that came back."""
        self.runner.client_received(
            b"".join(each if isinstance(each, bytes) else frame.marshal(each, 0) for each in said)
        )
        self.network.pass_time(1)
        octets, names = self.transport.value(), []
        self.transport.clear()
        while octets:
            size, _, method = frame.unmarshal(octets)
            names.append(method.name)
            octets = octets[size:]
        return names

    def log_in(self) -> None:
        assert self.send(PROTOCOL_HEADER) == ["Connection.Start"]
        assert self.send(START_OK) == ["Connection.Tune"]

    def open(self) -> list[str]:
        return self.send(commands.Connection.TuneOk(100, 131072, 0), commands.Connection.Open("/"))


@pytest.mark.parametrize("moment", ["before the login", "while the client is waited for", "at open"])
def test_a_node_that_dies_in_the_middle_of_a_handshake_costs_no_client(moment: str) -> None:
    network = Network(a="works", b="works")
    upstream = network.upstream()
    at(upstream, "b").links = 1  # so that a is first
    client = Client(network, upstream)
    if moment == "before the login":
        network.kill("a")
    client.log_in()
    if moment == "while the client is waited for":
        network.kill("a")
    elif moment == "at open":
        network.nodes["a"].mood = "hangs up at open"
    assert client.open() == ["Connection.OpenOk"]
    assert [connection.node for connection in network.connections] == [network.nodes["b"]]
    network.logged()


def test_a_client_that_vanishes_while_nodes_are_changed_leaves_nothing() -> None:
    network = Network(a="works", b="silent")
    upstream = network.upstream()
    at(upstream, "b").links = 1
    client = Client(network, upstream)
    client.log_in()
    network.kill("a")
    client.runner.client_received(
        frame.marshal(commands.Connection.TuneOk(100, 131072, 0), 0) + frame.marshal(commands.Connection.Open("/"), 0)
    )
    network.pass_time(1)
    assert network.nodes["b"].present, "the link is being opened at the other node"
    client.runner.client_lost("gone")
    network.assert_quiet()


def test_if_no_node_works_the_client_is_told() -> None:
    network = Network(a="refuses", b="hangs up")
    client = Client(network, network.upstream())
    assert client.send(PROTOCOL_HEADER) == ["Connection.Start"]
    assert client.send(START_OK) == ["Connection.Close"]
