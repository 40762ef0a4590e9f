"""A network of scripted nodes on a clock: what is dialed, what each node says, and how its connections end.

Covered with it: everything about several nodes that is a matter of order and time.  Not covered: what sockets and
RabbitMQ really do (``test_open_link.py``, ``test_links_to_rabbitmq.py``, ``tests/cluster``).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, field
from pamqp import commands, frame
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.upstream.making import upstream_at
from tests.upstream.scripted import CLOSE_OK, LOGIN, OPEN_OK, START, VIRTUAL_HOST, SocketDouble, method, outcome, tune
from trabbits.log_ids import LogId
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.status import NodeStatus
from trabbits.upstream.upstream import Upstream

TIMEOUT = 5.0


@implementer(IHostResolution)
@define
class Resolution:
    name: str

    def cancel(self) -> None:
        pass


@define(eq=False)
class Connection:
    """One TCP connection to a node, and the node's side of the conversation."""

    node: Node
    link: Any
    transport: SocketDouble = field(factory=SocketDouble)
    said: list[Any] = field(factory=list)
    lost: bool = False

    def heard(self) -> None:
        """Answer what was said since the last time, as the node's mood is."""
        octets = self.transport.value()
        self.transport.clear()
        while octets:
            size, _, said = frame.unmarshal(octets)
            octets = octets[size:]
            self.said.append(said)
            answer = self.node.answer(said)
            if answer == "hang up":
                self.lose()
            elif isinstance(answer, bytes):
                self.link.dataReceived(answer)

    def lose(self, reason: Exception | None = None) -> None:
        if not self.lost:
            self.lost = True
            self.link.connectionLost(Failure(reason or error.ConnectionDone()))


@define(eq=False)
class Node:
    """What a node does: `mood` is a key of `MOODS`."""

    mood: str = "works"
    connections: list[Connection] = field(factory=list)
    dialed: int = 0

    def answer(self, said: Any) -> bytes | str | None:
        replies = MOODS[self.mood]
        return replies.get(said.name, WORKS.get(said.name))

    @property
    def present(self) -> list[Connection]:
        return [connection for connection in self.connections if not connection.lost]


def close(code: int, text: str) -> bytes:
    return method(commands.Connection.Close(code, text, 10, 40))


WORKS: dict[str, bytes | str | None] = {
    "ProtocolHeader": START,
    "Connection.StartOk": tune(),
    "Connection.Open": OPEN_OK,
    "Connection.Close": CLOSE_OK,
}
#: What is answered differently from a node that works.
MOODS: dict[str, dict[str, bytes | str | None]] = {
    "works": {},
    "refuses": {},
    "unreachable": {},
    "silent": {"ProtocolHeader": None},
    "hangs up": {"ProtocolHeader": "hang up"},
    "silent at start-ok": {"Connection.StartOk": None},
    "hangs up at start-ok": {"Connection.StartOk": "hang up"},
    "denies the user": {"Connection.StartOk": close(403, "ACCESS_REFUSED - no")},
    "is stopping": {"Connection.StartOk": close(320, "CONNECTION_FORCED - node is stopping")},
    "silent at open": {"Connection.Open": None},
    "hangs up at open": {"Connection.Open": "hang up"},
    "vhost is down": {"Connection.Open": close(541, "INTERNAL_ERROR - vhost '/' is down")},
    "out of resources": {"Connection.Open": close(506, "RESOURCE_ERROR - no")},
    "is full": {"Connection.Open": close(530, "NOT_ALLOWED - node connection limit (1) is reached")},
    "denies the vhost": {"Connection.Open": close(530, "NOT_ALLOWED - vhost / not found")},
    "never closes": {"Connection.Close": None},
}


@implementer(IHostnameResolver)
class Network(MemoryReactorClock):
    """A reactor whose network consists of `nodes`, by host name; each name is an address of its own."""

    def __init__(self, **moods: str) -> None:
        super().__init__()
        self.nameResolver = self
        self.nodes = {name: Node(mood) for name, mood in moods.items()}
        #: The names that were asked for, in order.
        self.asked: list[str] = []
        self.log: list[tuple[LogId, dict[str, Any]]] = []
        self._dials: list[tuple[Any, Any, Node]] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append(hostName)
        resolutionReceiver.resolutionBegan(Resolution(hostName))
        resolutionReceiver.addressResolved(IPv4Address("TCP", hostName, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver

    def connectTCP(self, host: str, port: int, factory: Any, *rest: Any, **named: Any) -> Any:
        connector = super().connectTCP(host, port, factory, *rest, **named)
        node = self.nodes[host]
        node.dialed += 1
        self._dials.append((connector, factory, node))
        return connector

    # The nodes' side

    def settle(self) -> Network:
        """Let everybody say what there is to say, without time passing."""
        while self._step():
            pass
        return self

    def pass_time(self, seconds: float, step: float = 0.05) -> Network:
        """Let time pass, and everybody speak meanwhile."""
        self.settle()
        end = self.seconds() + seconds
        while self.seconds() < end - 1e-9:
            self.advance(min(step, end - self.seconds()))
            self.settle()
        return self

    def _step(self) -> bool:
        dials, self._dials = self._dials, []
        for connector, factory, node in dials:
            if connector.stoppedConnecting:
                continue
            if node.mood == "refuses":
                factory.clientConnectionFailed(connector, Failure(error.ConnectionRefusedError()))
            elif node.mood == "unreachable":
                continue
            else:
                self._connect(factory, node)
        worked = bool(dials)
        for connection in self.connections:
            if connection.transport.disconnecting and not connection.lost:
                connection.heard()
                connection.lose()
                worked = True
            elif connection.transport.value():
                connection.heard()
                worked = True
        return worked

    def _connect(self, factory: Any, node: Node) -> None:
        protocol = factory.buildProtocol(None)
        connection = Connection(node, protocol)
        node.connections.append(connection)
        protocol.makeConnection(connection.transport)
        # As a transport does: octets go to what is its protocol now.
        inner = connection.transport.protocol  # type: ignore[attr-defined]  # set by Login
        connection.link = inner

    @property
    def connections(self) -> list[Connection]:
        """Those that are there."""
        return [connection for node in self.nodes.values() for connection in node.present]

    def kill(self, name: str) -> None:
        """The node is gone with all its connections."""
        node = self.nodes[name]
        node.mood = "refuses"
        for connection in node.present:
            connection.lose(error.ConnectionLost())

    # Our side

    def upstream(self, **options: Any) -> Upstream:
        """All nodes as one upstream."""
        addresses = [f"{name}:5672" for name in self.nodes]
        options = {"timeout": TIMEOUT, "random": Random(7), "log": self.note, **options}
        return upstream_at(*addresses, reactor=self, **options)

    def note(self, entry: LogId, **fields: Any) -> None:
        entry.format.format(**fields)
        self.log.append((entry, fields))

    def logged(self) -> list[str]:
        """What was logged since the last time: names of entries and nodes."""
        lines, self.log = self.log, []
        return [f"{entry.name} {fields.get('node')}" for entry, fields in lines]

    def result(self, attempt: Deferred[Any], within: float = 60.0, until: Callable[[], bool] | None = None) -> Any:
        """What `attempt` comes to: a link or the exception."""
        fired = outcome(attempt)
        began = self.seconds()
        self.settle()
        while not fired:
            assert self.seconds() - began < within, "no outcome"
            self.pass_time(0.05)
        return fired[0]

    def open(self, upstream: Upstream) -> Any:
        """A link through both steps, or the exception."""
        link = self.result(upstream.open_link(LOGIN))
        if isinstance(link, LinkProtocol):
            return self.result(upstream.open_virtual_host(link, VIRTUAL_HOST))
        return link

    def assert_quiet(self) -> None:
        """No connection, no timer, no name being asked for."""
        self.settle()
        assert self.connections == []
        assert self.getDelayedCalls() == []


def at(upstream: Upstream, name: str) -> NodeStatus:
    """The status of the node with this host name."""
    return next(status for status in upstream.statuses if status.node.host == name)
