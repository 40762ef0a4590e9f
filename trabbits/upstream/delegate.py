"""What a link does when the upstream sends a method on channel 0 or on trabbits' own channel.

Lives here: `LinkDelegate`, the counterpart that txamqp calls for each method, and the tune negotiation.  Must not
know: octets, timers, the session.

Source: AMQP 0-9-1 section 2.2.4 (connection negotiation) and 1.4 (class connection).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred
from txamqp.client import Closed, TwistedDelegate

from trabbits.session.actions import VirtualHostRequest
from trabbits.upstream.errors import UnexpectedFrame
from trabbits.wire.constants import FRAME_MIN_SIZE

if TYPE_CHECKING:
    from trabbits.upstream.protocol import LinkProtocol

CHANNEL_MAX_LIMIT = 65535


class Stage(enum.Enum):
    """How far a link's handshake has come; the value is the method that must come next."""

    START = "connection.start"
    TUNE = "connection.tune"
    AUTHENTICATED = "nothing"
    OPEN_OK = "connection.open-ok"
    OPEN = "nothing, the link is open"


def smaller(ours: int, theirs: int) -> int:
    """The smaller of two limits, where 0 means that there is none (sections 1.4.2.5 and 1.4.2.6)."""
    return min(ours, theirs) if ours and theirs else ours or theirs


@frozen
class Tuning:
    """The limits of a link; 0 is none.  `channel_max` includes trabbits' own channels, `heartbeat` is in seconds."""

    channel_max: int
    frame_max: int
    heartbeat: int

    def agreed(self, request: VirtualHostRequest) -> Tuning:
        """What is answered to this offer of an upstream."""
        # More channels than the client's: those at the top are trabbits' own.
        wanted = request.channel_max + request.own_channels if request.channel_max else CHANNEL_MAX_LIMIT
        return Tuning(
            channel_max=smaller(min(wanted, CHANNEL_MAX_LIMIT), self.channel_max),
            frame_max=smaller(request.frame_max, self.frame_max),
            heartbeat=smaller(request.heartbeat, self.heartbeat),
        )


class LinkDelegate(TwistedDelegate):  # type: ignore[misc]  # txamqp has no type information
    """Answers the upstream's methods; anything without a method here is a violation."""

    client: LinkProtocol

    #: txamqp would queue it; no consumer exists on the channels seen here.
    basic_deliver = None

    def dispatch(self, channel: Any, message: Any) -> None:
        method = message.method
        name = f"{method.klass.name}_{method.name}".replace("-", "_")
        answer = getattr(type(self), name, None)
        misplaced = (method.klass.name == "connection") != (channel.id == 0)
        if answer is None or misplaced:
            raise UnexpectedFrame(f"unexpected {method.klass.name}.{method.name} on channel {channel.id}")
        answered = answer(self, channel, message)
        if isinstance(answered, Deferred):
            # txamqp forgets it, and with it that an answer could not be sent.
            answered.addErrback(self.client.treatment_failed)

    def connection_start(self, ch: Any, msg: Any) -> Any:
        link = self.client
        self._advance(Stage.START, Stage.TUNE)
        link.server_properties = msg.server_properties
        # Always asked for: a refusal then comes as connection.close 403 instead of a closed socket.
        properties = dict(link.login.client_properties)
        capabilities = properties.get("capabilities")
        properties["capabilities"] = {
            **(capabilities if isinstance(capabilities, dict) else {}),
            "authentication_failure_close": True,
        }
        return ch.connection_start_ok(
            client_properties=properties, mechanism=link.mechanism, response=link.response, locale=link.locale
        )

    def connection_secure(self, ch: Any, msg: Any) -> Any:
        raise UnexpectedFrame(f"connection.secure: another SASL round, which {self.client.mechanism} does not have")

    def connection_tune(self, ch: Any, msg: Any) -> None:
        self._advance(Stage.TUNE, Stage.AUTHENTICATED)
        if 0 < msg.frame_max < FRAME_MIN_SIZE:
            raise UnexpectedFrame(f"connection.tune with frame_max {msg.frame_max}, less than {FRAME_MIN_SIZE}")
        # Answered by `LinkProtocol.open`, when the client has said what it wants.
        self.client.offered = Tuning(msg.channel_max, msg.frame_max, msg.heartbeat)
        self.client.started.fire()

    def connection_blocked(self, ch: Any, msg: Any) -> None:
        self.client.upstream_blocked(msg.reason)

    def connection_unblocked(self, ch: Any, msg: Any) -> None:
        self.client.upstream_blocked(None)

    def connection_close(self, ch: Any, msg: Any) -> Any:
        answered = ch.connection_close_ok()
        self.client.upstream_closed(msg)
        self.client.do_close(msg)
        return answered

    def channel_close(self, ch: Any, msg: Any) -> Any:
        answered = ch.channel_close_ok()
        # The next request opens the channel anew: txamqp has no way to reopen a closed one.
        self.client.channels.pop(ch.id, None)
        ch.close(msg)
        return answered

    def close(self, reason: Any) -> None:
        """txamqp's end of every link, whoever ended it."""
        self.client.closed = True
        self.client.started.fail_if_not_fired(Closed(reason))
        self.client.hang_up()

    def _advance(self, expected: Stage, following: Stage) -> None:
        if self.client.stage is not expected:
            raise UnexpectedFrame(f"{expected.value} when {self.client.stage.value} was due")
        self.client.stage = following
