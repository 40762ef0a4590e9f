"""What the frontend stands between, as doubles: a client's transport, upstreams and their links; and a played client.

Not covered with it: real sockets (``tests/faults``) and real links (``tests/upstream``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from attrs import define, field
from pamqp import commands, frame
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from trabbits.frontend.admission import NamedPolicy
from trabbits.frontend.client_transport import ClientTransport
from trabbits.frontend.runner import SessionRunner
from trabbits.log_ids import LogId
from trabbits.plugins.key_patterns import KeyPatterns
from trabbits.plugins.plain import Plain
from trabbits.plugins.queue_attributes import FixedQueueAttributes
from trabbits.session.actions import LoginRequest, VirtualHostRequest
from trabbits.session.authentication import MechanismSettings
from trabbits.session.rewriting import chained
from trabbits.session.session import Session
from trabbits.session.settings import SessionSettings, UpstreamSettings
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.receiver import ILinkReceiver
from trabbits.upstream.upstream import Upstream
from trabbits.wire.constants import PROTOCOL_HEADER

PLAIN = MechanismSettings.of("PLAIN", Plain())
START_OK = commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US")


@implementer(ITCPTransport)
class SocketDouble(StringTransport):
    """A client's TCP connection: what is sent, how it is closed, whether it is read."""

    aborted = False
    half_closed = False

    def abortConnection(self) -> None:
        self.aborted = True

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    @property
    def reading(self) -> bool:
        return bool(self.producerState == "producing")

    def fill(self) -> None:
        """As Twisted does when more waits than the mark."""
        cast(Any, self.producer).pauseProducing()

    def drain(self) -> None:
        """As Twisted does when nothing waits any more."""
        cast(Any, self.producer).resumeProducing()


@define(eq=False)
class LinkDouble:
    """A link; `told` is everything that was asked of it, in order."""

    node: str
    upstream: UpstreamDouble
    frame_max: int = 131072
    own_channel: int = 2047
    server_properties: dict[str, Any] = field(factory=dict)
    receiver: ILinkReceiver | None = None
    reading: bool = True
    sent: bytes = b""
    control: list[bytes] = field(factory=list)
    told: list[str] = field(factory=list)
    #: Fires when the test says that the link is closed.
    gone: Deferred[None] = field(factory=Deferred)
    answers: list[Deferred[Any]] = field(factory=list)
    #: Whom the link tells that it broke before it was open.
    broken: Callable[[LinkRefused | LinkUnreachable], None] | None = None

    def attach(self, receiver: ILinkReceiver) -> None:
        self.receiver = receiver

    def control_received(self, octets: bytes) -> None:
        self.control.append(octets)

    def write_pieces(self, pieces: Sequence[bytes]) -> None:
        self.sent += b"".join(pieces)

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def close_link(self, within: float) -> Deferred[None]:
        self.told.append(f"close within {within}")
        return self.gone

    def abort(self) -> None:
        self.told.append("abort")

    def count_messages(self, queue: str, timeout: float) -> Deferred[int]:
        return self._asked(f"count {queue}")

    def count_consumers(self, queue: str, timeout: float) -> Deferred[int]:
        return self._asked(f"consumers {queue}")

    def delete_queue(self, queue: str, timeout: float) -> Deferred[None]:
        return self._asked(f"delete {queue}")

    def update_secret(self, secret: str, reason: str, timeout: float) -> Deferred[None]:
        return self._asked(f"secret {secret}")

    def _asked(self, what: str) -> Deferred[Any]:
        self.told.append(what)
        self.answers.append(Deferred())
        return self.answers[-1]

    @property
    def events(self) -> ILinkReceiver:
        """Whom the link tells."""
        assert self.receiver is not None
        return self.receiver

    def say(self, *methods: Any, channel: int = 1) -> None:
        """The node says something."""
        self.events.link_received(b"".join(frame.marshal(method, channel) for method in methods))


class UpstreamDouble:
    """An upstream that accepts everybody at once, and whose links open or fail when the test says so.

    What goes wrong before links are opened: ``test_openings.py``.
    """

    timeout = 5.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled = 0
        self.attempts: list[Deferred[Any]] = []
        self.logins: list[LoginRequest] = []
        self.requests: list[VirtualHostRequest] = []
        self.links: list[LinkDouble] = []

    def open_link(self, request: LoginRequest) -> Deferred[Any]:
        self.logins.append(request)
        self.links.append(LinkDouble(f"{self.name}.example:5672", self))
        return succeed(self.links[-1])

    def when_broken(self, link: LinkDouble, tell: Callable[[LinkRefused | LinkUnreachable], None]) -> None:
        link.broken = tell

    def open_virtual_host(self, link: LinkDouble, request: VirtualHostRequest) -> Deferred[Any]:
        self.requests.append(request)

        def cancel(_: Deferred[Any]) -> None:
            self.cancelled += 1

        self.attempts.append(Deferred(cancel))
        return self.attempts[-1]

    def opens(self) -> LinkDouble:
        """The latest attempt succeeds."""
        self.attempts[-1].callback(self.links[-1])
        return self.links[-1]


class Surroundings:
    """A session with its runner, a transport, a clock and upstreams; the test plays client and nodes.

    `lasting`: no queue is declared auto-delete, which is emulated.
    """

    def __init__(
        self,
        upstreams: Sequence[str] = ("a",),
        *,
        lasting: bool = False,
        policies: Sequence[NamedPolicy] = (),
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.transport = SocketDouble()
        self.upstreams = {name: UpstreamDouble(name) for name in upstreams}
        self.log: list[tuple[LogId, dict[str, Any]]] = []
        self.finished = 0
        rewriters = [("queue_attributes", FixedQueueAttributes(auto_delete=False))] if lasting else []
        self.settings = SessionSettings(
            upstreams=tuple(
                UpstreamSettings(name, chained(name, rewriters), emulate_auto_delete=lasting) for name in upstreams
            ),
            routing=KeyPatterns([(name, [f"{name}.#"]) for name in upstreams]),
            **{"heartbeat": 0, "mechanisms": (PLAIN,), **settings},
        )
        self.session = Session("proxy-1", "192.0.2.1:50000", self.settings, self._log, guarded=bool(policies))
        self.client = ClientTransport(self.transport, self.clock, self._full, self._drained)
        upstream_doubles = cast("dict[str, Upstream]", self.upstreams)
        self.runner = SessionRunner(self.session, self.client, upstream_doubles, self.clock, self._finish, policies)
        self.runner.client_connected()

    def _log(self, entry: LogId, **fields: Any) -> None:
        self.log.append((entry, fields))

    def _full(self) -> None:
        self.runner.client_full()

    def _drained(self) -> None:
        self.runner.client_drained()

    def _finish(self) -> None:
        self.finished += 1

    def entries(self) -> list[LogId]:
        """The kinds of what was logged."""
        return [entry for entry, _ in self.log]

    def send(self, *methods: Any, channel: int = 0) -> None:
        """The client says something."""
        self.runner.receive(b"".join(frame.marshal(method, channel) for method in methods))

    def heard(self) -> list[Any]:
        """What the client was sent since the last time, without heartbeats."""
        octets = self.transport.value()
        self.transport.clear()
        methods = []
        while octets:
            size, _, method = frame.unmarshal(octets)
            methods.append(method)
            octets = octets[size:]
        return methods

    def log_in(self) -> Surroundings:
        """The client comes to connection.tune-ok, which it has not sent yet."""
        self.runner.receive(PROTOCOL_HEADER)
        self.send(START_OK)
        assert [method.name for method in self.heard()] == ["Connection.Start", "Connection.Tune"]
        return self

    def connect(self) -> Surroundings:
        """The client comes to connection.open, which is not answered yet."""
        self.connect_to_policies()
        assert self.heard() == []
        return self

    def connect_to_policies(self) -> Surroundings:
        """The same, whatever came of it."""
        self.log_in()
        self.send(commands.Connection.TuneOk(100, 131072, self.settings.heartbeat), commands.Connection.Open("/"))
        return self

    def open(self) -> list[LinkDouble]:
        """Everything up to connection.open-ok; the links."""
        self.connect()
        links = [upstream.opens() for upstream in self.upstreams.values()]
        assert [method.name for method in self.heard()] == ["Connection.OpenOk"]
        return links

    def open_channel(self, *links: LinkDouble) -> None:
        """Channel 1 on every link."""
        self.send(commands.Channel.Open(), channel=1)
        for link in links:
            link.say(commands.Channel.OpenOk())
        assert [method.name for method in self.heard()] == ["Channel.OpenOk"]
        for link in links:
            link.sent = b""

    def lose_client(self) -> None:
        """The client's connection is gone, as Twisted tells."""
        self.client.gone()
        self.runner.client_lost("Connection was closed cleanly.")

    def assert_over(self) -> None:
        """Finished once, and no timer left."""
        assert self.finished == 1
        assert self.clock.getDelayedCalls() == []
