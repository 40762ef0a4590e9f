"""One link: an AMQP connection to a node of an upstream.

Lives here: `LinkProtocol`, a link's life from the TCP connection to its end, and the way of received octets: to
txamqp until `attach`, then straight to the receiver, who hands back the frames that are the link's own.  Must not
know: octets of frames (``checked_client.py``), what client channels say, how an upstream is chosen.

Source: AMQP 0-9-1 section 2.2.4 (negotiation, closing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from trabbits.session.actions import LoginRequest, VirtualHostRequest
from trabbits.transport import WriteGauge, tune_transport
from trabbits.upstream.attempt import Attempt
from trabbits.upstream.checked_client import CheckedClient, ignore
from trabbits.upstream.delegate import LinkDelegate, Stage, Tuning
from trabbits.upstream.errors import LinkRefused, LinkUnreachable, RequestFailed
from trabbits.upstream.own_channel import OwnChannel, answered_within
from trabbits.upstream.receiver import ILinkReceiver
from trabbits.wire.constants import REPLY_SUCCESS

__all__ = ["ILinkReceiver", "LinkProtocol"]

CLOSE_OK_FRAME = bytes.fromhex("01 0000 00000004 000a 0033 ce")

#: Seconds that a closing socket gets to send what is still buffered (a last close-ok).
HANG_UP_TIMEOUT = 2.0


class LinkProtocol(CheckedClient):
    """A link.  First `log_in`, then `open` and `attach`, at last `close_link` or `abort`.

    `server_properties` are the upstream's, known after `log_in`.  Known after `open`: `frame_max` counts octets and
    is 0 when there is no limit; `channel_max` includes `own_channel`, the top one, which is trabbits' own; `heartbeat`
    is in seconds.
    """

    def __init__(self, login: LoginRequest, upstream_name: str, node: str, clock: IReactorTime) -> None:
        super().__init__(LinkDelegate(), f"upstream '{upstream_name}' ({node})", clock)
        self.login = login
        self.upstream_name = upstream_name
        self.node = node
        self.stage = Stage.START
        self.server_properties: dict[str, Any] = {}
        self.offered = Tuning(0, 0, 0)
        self.frame_max = 0
        self.channel_max = 0
        self.own_channel = 0
        self._own = OwnChannel(self)
        self._receiver: ILinkReceiver | None = None
        self._gauge: WriteGauge | None = None
        self._hang_up_call: Any = None
        self._lost = False
        self._over = False  # the receiver is told nothing more
        self._refusal: Any = None
        self._blocked_reason: str | None = None
        self._farewell: Callable[[ILinkReceiver], None] | None = None
        self._tell_broken: Callable[[LinkRefused | LinkUnreachable], None] | None = None
        self._tell_lost: Callable[[str], None] | None = None

    # -- the beginning

    def connectionMade(self) -> None:
        tune_transport(self.transport)
        super().connectionMade()

    async def log_in(self) -> None:
        """SASL: fires with connection.tune, by which the upstream says that it accepts user and password.

        Raises LinkRefused or LinkUnreachable; bounds no time.
        """
        login = self.login
        try:
            await self.authenticate(login.username, login.password, login.mechanism, login.locale)
        except Exception as exc:
            raise self._no_link(str(exc)) from None

    def when_broken(self, tell: Callable[[LinkRefused | LinkUnreachable], None]) -> None:
        """Call `tell` when the link ends between `log_in` and `open`, at once if it has.

        Like every event, not after `abort` and `close_link`.
        """
        broken = self.broken
        if broken is not None:
            tell(broken)
        else:
            self._tell_broken = tell

    @property
    def broken(self) -> LinkRefused | LinkUnreachable | None:
        """Why a link that is not open has ended, None while it has not."""
        return self._no_link("") if self.closed or self._lost or self.loss else None

    def when_lost(self, tell: Callable[[str], None]) -> None:
        """Call `tell` with the reason when the connection of the open link breaks, which nobody asked for."""
        self._tell_lost = tell

    def open(self, request: VirtualHostRequest, timeout: float) -> Deferred[None]:
        """tune-ok and connection.open: the link is ready to be attached.  May be cancelled.

        Fails with LinkRefused or LinkUnreachable, the latter also when it takes longer than `timeout` seconds; then
        nothing of the link stays.
        """
        self._tell_broken = None
        return Attempt(
            self._open(request), timeout, self.clock, too_late=lambda: self.too_late(timeout), abort=self.abort
        ).answer

    async def _open(self, request: VirtualHostRequest) -> None:
        agreed = self.offered.agreed(request)
        self.channel_max = self.own_channel = agreed.channel_max
        self.frame_max = agreed.frame_max
        channel = self.channels[0]
        try:
            await channel.connection_tune_ok(agreed.channel_max, agreed.frame_max, agreed.heartbeat)
            self.stage = Stage.OPEN_OK
            self.start_heartbeats(agreed.heartbeat)
            await channel.connection_open(request.virtual_host)
        except Exception as exc:
            raise self._no_link(str(exc)) from None
        self.stage = Stage.OPEN

    def too_late(self, timeout: float) -> LinkUnreachable:
        """What to say when the handshake took longer than `timeout` seconds."""
        text = f"{self.label} did not finish the AMQP handshake within {timeout:g}s: no {self.stage.value}"
        return LinkUnreachable(self.upstream_name, self.node, text)

    def _no_link(self, why: str) -> LinkRefused | LinkUnreachable:
        """How the handshake failed; `why` where nothing else is known."""
        said = self._refusal
        if said is not None:
            arguments = said.reply_code, said.reply_text, said.class_id, said.method_id
            return LinkRefused(self.upstream_name, self.node, *arguments)
        text = self.loss or f"{self.label} broke the AMQP handshake: {why}"
        # RabbitMQ hangs up without a word on a start-ok that is too large or cannot be decoded.
        client_spoke = bool(self.loss) and self.stage is Stage.TUNE
        return LinkUnreachable(self.upstream_name, self.node, text, client_spoke=client_spoke)

    def attach(self, receiver: ILinkReceiver) -> None:
        """Hand every octet received from now on to `receiver`, and at once what has happened since the handshake.

        That may be the link's end: ``link_closed`` or ``link_lost`` can be called before this returns.
        """
        if self._farewell is not None:
            self._farewell(receiver)
        if self._over:
            return
        self._receiver = receiver
        self._gauge = WriteGauge(receiver.link_full, receiver.link_drained)
        self.transport.registerProducer(self._gauge, True)
        self._deliver = receiver.link_received
        begun, self._buffer = self._buffer, b""
        if self._blocked_reason is not None:
            receiver.link_blocked(self._blocked_reason)
        if begun and self._receiver is receiver:
            receiver.link_received(begun)

    # -- flow control

    def pause_reading(self) -> None:
        """Stop reading from the upstream; supervision by heartbeats rests, too.  Not when the link is being closed."""
        if self._over:
            # Its close-ok must be read.
            return
        self._reading_paused = True
        self.transport.pauseProducing()

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._heard = True
            self.transport.resumeProducing()

    def send_heartbeat(self) -> None:
        # An upstream that does not read needs no more of them.
        if self._gauge is None or not self._gauge.full:
            super().send_heartbeat()

    # -- the end

    def close_link(self, within: float) -> Deferred[None]:
        """connection.close, then the socket; fires when that is gone, after at most about `within` seconds.

        Never fails.  The receiver hears nothing more.
        """
        self._over = True
        self._forget_receiver()
        gone: Deferred[None] = self.disconnected.wait().addCallback(lambda _: None)
        if self._lost:
            return gone
        if self.stage is not Stage.OPEN or within <= 0 or self.loss:
            self.abort()
            return gone
        self._abort_after(within)
        if not self.closed and self._deliver != self._await_close_ok:
            self._buffer = b""
            self._deliver = self._await_close_ok
            self.resume_reading()
            # The answer comes by `_await_close_ok`; that the channel ends instead is no news to anybody.
            closing = self.channels[0].connection_close(reply_code=REPLY_SUCCESS, reply_text="Goodbye")
            closing.addErrback(lambda _: None)
        return gone

    def _await_close_ok(self, data: bytes) -> None:
        """Find connection.close-ok without knowing where frames begin: after it the upstream sends nothing.

        Octets of a body that look like it would merely end the wait early.
        """
        size = len(CLOSE_OK_FRAME)
        self._buffer = data[-size:] if len(data) >= size else (self._buffer + data)[-size:]
        if self._buffer == CLOSE_OK_FRAME:
            self.transport.loseConnection()

    def abort(self) -> None:
        """End the link at once, whatever is buffered.  The receiver hears nothing more."""
        self._over = True
        self._forget_receiver()
        if self.transport is not None and not self._lost:
            self.transport.abortConnection()

    def hang_up(self) -> None:
        """Close the socket once what is buffered has been sent, which is bounded."""
        if not self._lost:
            self._release_producer()
            if self._hang_up_call is None:
                self._abort_after(HANG_UP_TIMEOUT)
            self.transport.loseConnection()

    def upstream_closed(self, message: Any) -> None:
        """The upstream sent connection.close; close-ok is on its way."""
        if self.stage is not Stage.OPEN:
            self._refusal = message
            self._broken()
        else:
            arguments = message.reply_code, message.reply_text, message.class_id, message.method_id
            self._end(lambda receiver: receiver.link_closed(*arguments))

    def upstream_blocked(self, reason: str | None) -> None:
        """connection.blocked with its reason, or connection.unblocked."""
        self._blocked_reason = reason
        if self._receiver is not None:
            if reason is not None:
                self._receiver.link_blocked(reason)
            else:
                self._receiver.link_unblocked()

    def connectionLost(self, reason: Failure) -> None:
        self._lost = True
        self._deliver = ignore
        self.loss = self.loss or self._lost_text(reason)
        if self._hang_up_call is not None and self._hang_up_call.active():
            self._hang_up_call.cancel()
        # Waiters of the handshake and of requests learn it from txamqp.
        super().connectionLost(reason)
        if self.stage is Stage.OPEN:
            if self._tell_lost is not None and not self._over:
                self._tell_lost(self.loss)
            self._end(lambda receiver: receiver.link_lost(self.loss))
        else:
            self._broken()

    def _lost_text(self, reason: Failure) -> str:
        how = "closed the connection"
        if not reason.check(error.ConnectionDone):
            how = f"lost the connection ({reason.getErrorMessage().rstrip('.')})"
        if self.stage is Stage.OPEN:
            return f"{self.label} {how}"
        if self.stage is Stage.AUTHENTICATED:
            return f"{self.label} {how} before the client had opened a virtual host"
        return f"{self.label} {how} in the AMQP handshake, where {self.stage.value} was due"

    def _broken(self) -> None:
        """The end of a link that is between `log_in` and `open`."""
        tell, self._tell_broken = self._tell_broken, None
        if tell is not None:
            tell(self._no_link(""))

    def _end(self, tell: Callable[[ILinkReceiver], None]) -> None:
        if self._over:
            return
        self._over = True
        receiver = self._receiver
        if receiver is None:
            self._farewell = tell
        else:
            self._forget_receiver()
            tell(receiver)

    def _forget_receiver(self) -> None:
        self._receiver = None
        self._farewell = None
        self._tell_broken = None
        if self._deliver != self._await_close_ok:
            self._deliver = ignore
        self._release_producer()

    def _release_producer(self) -> None:
        if self._gauge is not None:
            # A producer that is paused would keep the transport from closing.
            self._gauge = None
            self.transport.unregisterProducer()

    def _abort_after(self, seconds: float) -> None:
        if self._hang_up_call is not None and self._hang_up_call.active():
            self._hang_up_call.cancel()
        self._hang_up_call = self.clock.callLater(seconds, self.transport.abortConnection)

    # -- trabbits' own requests

    def update_secret(self, secret: str, reason: str, timeout: float) -> Deferred[None]:
        """connection.update-secret (RabbitMQ): the credentials of this link from now on.  Fails with RequestFailed."""
        request = self.channels[0].connection_update_secret(new_secret=secret, reason=reason)
        return answered_within(self, request, timeout, "connection.update-secret").addCallback(lambda _: None)

    def count_messages(self, queue: str, timeout: float) -> Deferred[int]:
        """Messages that are ready in `queue`, by a passive declare.  Fails with RequestRefused or RequestFailed."""
        return self._own.request(
            lambda channel: channel.queue_declare(queue=queue, passive=True), timeout, f"queue.declare of '{queue}'"
        ).addCallback(lambda message: message.message_count)

    def count_consumers(self, queue: str, timeout: float) -> Deferred[int]:
        """Consumers of `queue`, by a passive declare.  Fails with RequestRefused or RequestFailed."""
        return self._own.request(
            lambda channel: channel.queue_declare(queue=queue, passive=True), timeout, f"queue.declare of '{queue}'"
        ).addCallback(lambda message: message.consumer_count)

    def delete_queue(self, queue: str, timeout: float) -> Deferred[None]:
        """Delete `queue`; RabbitMQ is content when it is missing.  Fails with RequestRefused or RequestFailed."""
        return self._own.request(
            lambda channel: channel.queue_delete(queue=queue), timeout, f"queue.delete of '{queue}'"
        ).addCallback(lambda _: None)

    def request_failed(self, what: str) -> RequestFailed:
        return RequestFailed(self.upstream_name, self.node, f"{self.label} {what}")
