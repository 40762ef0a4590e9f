"""The server's side of the connection negotiation: from the protocol header to connection.open.

Lives here: which method is expected when, what trabbits announces, what is agreed.
Must not know: who the client is (``authentication.py``), upstreams (whether user, password and virtual host are right
is theirs to say), timers.

    client                  trabbits                                upstreams              state before
    protocol header                                                                        HEADER
                            connection.start                                               HEADER
    connection.start-ok                                                                    START
                            connection.secure, while the mechanism has                     LOGIN
                            a challenge
    connection.secure-ok                                                                   SECURE
                            protocol header, start-ok to all (when the                     LOGIN
                            client is proven, to those that cannot prove it)
                                                                    connection.tune        LOGIN
                            connection.tune, when all have sent it                         LOGIN
    connection.tune-ok                                                                     TUNE
    connection.open                                                                        OPEN
                            tune-ok, connection.open to all                                DONE
                                                                    connection.open-ok     DONE
                            connection.open-ok, when all have                              DONE

So a refusal reaches the client where RabbitMQ would have said it: clients tell by the place whether the password was
wrong (before tune) or the virtual host (after connection.open).

Source: AMQP 0-9-1 sections 2.2.4 and 1.4; RabbitMQ's rabbit_reader for codes and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, cast

from attrs import frozen
from pamqp import commands

from trabbits.interfaces import Credentials
from trabbits.session.actions import LoginRequest, VirtualHostRequest
from trabbits.session.announced import PRODUCT
from trabbits.session.settings import SessionSettings
from trabbits.wire import constants as amqp
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import frame as build_frame
from trabbits.wire.encode import method_frame
from trabbits.wire.errors import Violation
from trabbits.wire.methods import name_of

#: What a client may rely on through trabbits: all of RabbitMQ's flags.
CAPABILITIES: dict[str, bool] = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "consumer_priorities": True,
    "authentication_failure_close": True,
    "per_consumer_qos": True,
    "direct_reply_to": True,
}


class State(Enum):
    """How far the negotiation is, named for what the client must send next."""

    HEADER = "protocol header"
    START = "connection.start-ok"
    SECURE = "connection.secure-ok"
    LOGIN = "nothing: the mechanism, then the upstreams are asked who the client is"
    TUNE = "connection.tune-ok"
    OPEN = "connection.open"
    DONE = "nothing: the negotiation is over"


#: The one method that each state takes, and the state after it.
TRANSITIONS: dict[State, tuple[int, State]] = {
    State.START: (amqp.CONNECTION_START_OK, State.LOGIN),
    State.SECURE: (amqp.CONNECTION_SECURE_OK, State.LOGIN),
    State.TUNE: (amqp.CONNECTION_TUNE_OK, State.OPEN),
    State.OPEN: (amqp.CONNECTION_OPEN, State.DONE),
}


@frozen
class Agreement:
    """What client and trabbits agreed on; `heartbeat` in seconds, 0 for none."""

    frame_max: int
    channel_max: int
    heartbeat: int


class Handshake:
    """One negotiation.  Feed it `header_received`, then whole method frames of channel 0.

    `offered` gives the mechanisms that are announced.  `challenge` and `tune` take it further.
    """

    def __init__(
        self, settings: SessionSettings, send: Callable[[bytes], None], offered: Callable[[], Sequence[str]]
    ) -> None:
        self._settings = settings
        self._send = send
        self._offered = offered
        self._header = b""
        self.state = State.HEADER
        #: What the client chose, and what it answered last; secret, and forgotten by `take_response`.
        self.mechanism = ""
        self._response = b""
        self.client_properties: dict[str, Any] = {}
        self.locale = "en_US"
        self.agreement = Agreement(settings.frame_max, settings.offered_channel_max, settings.heartbeat)
        self.virtual_host = ""

    def header_received(self, octets: bytes) -> bytes | None:
        """Take the first octets of a connection; returns those behind the header, None for "not yet".

        Raises `BadProtocolHeader` as soon as they cannot become AMQP 0-9-1 any more.
        """
        self._header += octets
        wanted = amqp.PROTOCOL_HEADER
        if not wanted.startswith(self._header[: len(wanted)]):
            raise BadProtocolHeader(self._header[: len(wanted)])
        if len(self._header) < len(wanted):
            return None
        rest, self._header = self._header[len(wanted) :], b""
        self._send(method_frame(0, self._start()))
        self.state = State.START
        return rest

    def method_received(self, index: int, frame: bytes) -> None:
        """Take a method of channel 0; raises `Violation` when it is not the one expected now."""
        expected, after = TRANSITIONS.get(self.state, (0, State.DONE))
        if index != expected:
            # RabbitMQ's code; the specification would have 503.
            raise Violation(
                amqp.CHANNEL_ERROR,
                f"unexpected method {name_of(index)}, expected {self.state.value}",
                class_id=index >> 16,
                method_id=index & 0xFFFF,
            )
        method = decode_method(frame)
        if isinstance(method, commands.Connection.StartOk):
            self._start_ok(method)
        elif isinstance(method, commands.Connection.SecureOk):
            self._response = _octets(method.response)
        elif isinstance(method, commands.Connection.TuneOk):
            self._tune_ok(method)
        elif isinstance(method, commands.Connection.Open):
            self.virtual_host = method.virtual_host
        self.state = after

    def take_response(self) -> bytes:
        """The client's latest answer, which is kept no longer."""
        response, self._response = self._response, b""
        return response

    def challenge(self, octets: bytes) -> None:
        """The mechanism wants to hear more."""
        arguments = len(octets).to_bytes(4, "big") + octets
        self._send(build_frame(amqp.FRAME_METHOD, 0, amqp.CONNECTION_SECURE.to_bytes(4, "big") + arguments))
        self.state = State.SECURE

    def tune(self) -> None:
        """The client is who it says it is: tell it our limits."""
        offered = self.agreement
        self._send(method_frame(0, commands.Connection.Tune(offered.channel_max, offered.frame_max, offered.heartbeat)))
        self.state = State.TUNE

    @property
    def client_capabilities(self) -> dict[str, Any]:
        """What the client said it understands."""
        found = self.client_properties.get("capabilities")
        return found if isinstance(found, dict) else {}

    def login(self, credentials: Credentials, shown: Mapping[str, str]) -> LoginRequest:
        """What an upstream is told in start-ok; `shown` is added to the client's properties."""
        return LoginRequest(
            mechanism=credentials.mechanism,
            username=credentials.username,
            password=credentials.password,
            client_properties={**self.client_properties, **shown},
            locale=self.locale,
        )

    def virtual_host_request(self) -> VirtualHostRequest:
        """What the upstreams are told after open."""
        agreement = self.agreement
        return VirtualHostRequest(
            virtual_host=self.virtual_host,
            frame_max=agreement.frame_max,
            channel_max=agreement.channel_max,
            heartbeat=agreement.heartbeat,
            own_channels=self._settings.own_channels,
        )

    def _start(self) -> commands.Connection.Start:
        return commands.Connection.Start(
            version_major=0,
            version_minor=9,
            server_properties={
                "product": PRODUCT,
                "version": self._settings.announced.version,
                "platform": "Python/Twisted",
                "information": f"through trabbits {self._settings.version}, an AMQP 0-9-1 proxy",
                "capabilities": dict(CAPABILITIES),
            },
            mechanisms=" ".join(self._offered()),
            locales="en_US",
        )

    def _start_ok(self, method: commands.Connection.StartOk) -> None:
        self.client_properties = dict(method.client_properties)
        self.locale = method.locale
        self.mechanism = method.mechanism
        self._response = _octets(method.response)

    def _tune_ok(self, method: commands.Connection.TuneOk) -> None:
        offered = self.agreement
        _check_negotiated("frame_max", method.frame_max, self._settings.frame_min, offered.frame_max)
        _check_negotiated("channel_max", method.channel_max, 1, offered.channel_max)
        self.agreement = Agreement(method.frame_max, method.channel_max, method.heartbeat)


def _octets(response: str | None) -> bytes:
    # pamqp gives octets when they are no UTF-8, whatever its annotation says.
    given = cast("str | bytes", response or "")
    return given.encode() if isinstance(given, str) else given


def _check_negotiated(name: str, value: int, least: int, most: int) -> None:
    """As RabbitMQ does: 530 for more than was offered, 0 meaning "no limit"."""
    tune_ok = {"class_id": amqp.CONNECTION_TUNE_OK >> 16, "method_id": amqp.CONNECTION_TUNE_OK & 0xFFFF}
    if value == 0 or value > most:
        shown = "no limit (0)" if value == 0 else str(value)
        raise Violation(
            amqp.NOT_ALLOWED,
            f"negotiated {name} = {shown} is higher than the maximum allowed value ({most})",
            **tune_ok,
        )
    if value < least:
        raise Violation(
            amqp.NOT_ALLOWED,
            f"negotiated {name} = {value} is lower than the minimum allowed value ({least})",
            **tune_ok,
        )


class BadProtocolHeader(Exception):
    """The client did not begin with ``AMQP 0 0 9 1``; `octets` is what it sent instead (at most 8)."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(f"bad protocol header {octets!r}")
        self.octets = octets
