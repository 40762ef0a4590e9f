"""txamqp's client with a frame layer that checks what it gets, and heartbeats that cost nothing per frame.

Lives here: `CheckedClient` and its channels: octets to and from txamqp's frames, errors that reach somebody,
supervision.  Must not know: who opened a link and why, what happens after the handshake (``protocol.py``).

Source: AMQP 0-9-1 sections 4.2 (octets of frames) and 4.2.7 (heartbeats).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.connection import Frame, Heartbeat, Method
from txamqp.message import Message
from txamqp.protocol import AMQChannel, AMQClient
from txamqp.queue import Closed as QueueClosed

from trabbits.transport import writer_for
from trabbits.upstream.codec import decode_method, encode_method
from trabbits.upstream.errors import UnexpectedFrame
from trabbits.upstream.spec import amqp_spec
from trabbits.wire import constants

_HEAD = struct.Struct("!BHI")

#: Largest frame that is cut here, octets.  The specification allows 4096 before tune; being strict would gain
#: nothing, the bound is what matters.
OWN_FRAME_MAX = 64 * 1024


class CheckedChannel(AMQChannel):  # type: ignore[misc]  # txamqp has no type information
    """A channel that txamqp opened."""

    @inlineCallbacks
    def invoke(self, method: Any, args: Any, content: Any = None) -> Generator[Any, Any, Any]:
        """Send a method that has no content, and give the message that answers it, if any does.

        txamqp's own queues the frame to a writer that ends for good at the first frame it cannot encode, and uses
        what Twisted has deprecated.
        """
        if self.closed:
            self._raise_closed(self.reason)
        self.client.send_frame(Frame(self.id, Method(method, *args)))
        if not method.responses:
            return None
        try:
            answer = (yield self.responses.get()).payload
        except QueueClosed:
            self._raise_closed(self.reason)
        if answer.method not in method.responses:
            raise UnexpectedFrame(f"{answer.method.klass.name}.{answer.method.name} answers {method.name}")
        return Message(answer.method, answer.args)


class CheckedClient(AMQClient):  # type: ignore[misc]  # txamqp has no type information
    """An AMQP connection on which txamqp sees channel 0 and channels that it opened itself, nothing else."""

    log = Logger()
    channelClass = CheckedChannel  # noqa: N815  # txamqp's name
    #: Heartbeat intervals without a single octet after which the peer counts as dead (section 4.2.7).
    MAX_UNSEEN_HEARTBEAT = 2

    def __init__(self, delegate: Any, label: str, clock: IReactorTime) -> None:
        # The virtual host is named later, when the client has.
        super().__init__(delegate, "", amqp_spec(), heartbeat=0, clock=clock)
        #: The peer, as the subject of a sentence.
        self.label = label
        #: Agreed seconds between heartbeats, 0 for none.
        self.heartbeat = 0
        #: Why we ended the connection ourselves, as a sentence; empty while we did not.
        self.loss = ""
        self._deliver: Callable[[bytes], None] = self._parse
        self._buffer = b""
        self._heard = self._wrote = False
        self._unheard = 0
        self._reading_paused = False

    def channel(self, id: int) -> Deferred[Any]:
        channel = self.channels.get(id)
        if channel is None:
            channel = self.channels[id] = self.channelFactory(id, self.outgoing, self)
        return succeed(channel)

    @inlineCallbacks
    def start(self, response: Any, mechanism: str, locale: str) -> Generator[Any, Any, None]:
        """From connection.start to connection.tune; `authenticate` calls it."""
        self.response = response
        self.mechanism = mechanism
        self.locale = locale
        yield self.started.wait()
        # It holds the password, which is not needed any more.
        self.response = None

    # -- received octets

    def dataReceived(self, data: bytes) -> None:
        self._heard = True
        self._deliver(data)

    def _parse(self, data: bytes) -> None:
        """Cut frames for as long as they come here, and let txamqp treat them."""
        self._buffer += data
        try:
            while len(self._buffer) >= _HEAD.size and self._deliver == self._parse:
                kind, _, size = _HEAD.unpack_from(self._buffer)
                if kind not in (constants.FRAME_METHOD, constants.FRAME_HEARTBEAT) or size > OWN_FRAME_MAX:
                    raise UnexpectedFrame(f"it sent {self._buffer[:32]!r}")
                end = _HEAD.size + size + 1
                if len(self._buffer) < end:
                    return
                # Treating the frame may change `_deliver`, so the buffer must be right before.
                frame, self._buffer = self._buffer[:end], self._buffer[end:]
                self.frame_received(self._unpack_frame(frame))
        except UnexpectedFrame as unexpected:
            self.break_off(f"does not speak AMQP 0-9-1 as expected: {unexpected}")

    def control_received(self, frame: bytes) -> None:
        """One whole frame of channel 0 or of the own channel, which the session's scanner hands back."""
        if frame[0] == constants.FRAME_HEARTBEAT or self.closed or self.loss:
            return
        try:
            self.frame_received(self._unpack_frame(frame))
        except UnexpectedFrame as unexpected:
            self.break_off(f"broke AMQP: {unexpected}")

    def process_frame(self, frame: Frame) -> None:
        """txamqp's dispatch, for frames that have a place here."""
        if frame.payload.type != Frame.HEARTBEAT:
            method = frame.payload.method
            channel = self.channels.get(frame.channel)
            known = frame.channel == 0 or channel is not None
            # txamqp would keep an answer that nobody asked for and take it for that of the next request.
            unasked = method.response and (channel is None or not channel.responses.waiting)
            if not known or unasked or method.content:
                raise UnexpectedFrame(f"unexpected {method.klass.name}.{method.name} on channel {frame.channel}")
        super().process_frame(frame).addErrback(self.treatment_failed)

    def worker(self, queue: Any) -> None:
        """txamqp's loop over the methods of the peer; its own stops at the first error."""

        def next_one(_: Any) -> None:
            self.work.get().addCallback(self.worker)

        treated: Deferred[Any] = self.dispatch(queue)
        treated.addErrback(self.treatment_failed).addCallback(next_one)

    def treatment_failed(self, failure: Failure) -> None:
        """The end of every Deferred that txamqp leaves to nobody."""
        if failure.check(UnexpectedFrame):
            self.break_off(f"broke AMQP: {failure.getErrorMessage()}")
        elif not (self.closed and failure.check(QueueClosed)):
            self.log.failure("Treating a frame from {label} failed", failure=failure, label=self.label)
            self.break_off("sent a frame that trabbits failed to treat")

    def break_off(self, what: str) -> None:
        """End the connection at once: the peer cannot be talked to any more, because it `what`."""
        self.loss = self.loss or f"{self.label} {what}"
        self._deliver = ignore
        self.transport.abortConnection()

    def _unpack_frame(self, data: bytes) -> Frame:
        kind, channel, _ = _HEAD.unpack_from(data)
        if data[-1] != constants.FRAME_END:
            raise UnexpectedFrame(f"frame end {data[-1]} instead of {constants.FRAME_END}")
        if kind == constants.FRAME_HEARTBEAT:
            return Frame(channel, Heartbeat())
        if kind != constants.FRAME_METHOD:
            raise UnexpectedFrame(f"a frame of type {kind} on channel {channel}")
        return Frame(channel, decode_method(self.spec, data[_HEAD.size : -1]))

    # -- sent octets

    def send_init_string(self) -> None:
        # txamqp's is that of another protocol version ("1 1 0 9").
        self._write_now = writer_for(self.transport)
        self.write(constants.PROTOCOL_HEADER)

    def write(self, data: bytes) -> None:
        """Send `data`, at once if nothing waits before it."""
        self.write_pieces((data,))

    def write_pieces(self, pieces: Sequence[bytes]) -> None:
        """Send all of them, in order, as `write` does."""
        self._wrote = True
        self._write_now(pieces)

    def send_frame(self, frame: Frame) -> None:
        data = self._pack_frame(frame)
        if frame.payload.type != Frame.HEARTBEAT:
            self._wrote = True
        self._write_now((data,))

    def _pack_frame(self, frame: Frame) -> bytes:
        if frame.payload.type == Frame.HEARTBEAT:
            return constants.HEARTBEAT_FRAME
        payload = encode_method(frame.payload.method, frame.payload.args)
        return _HEAD.pack(constants.FRAME_METHOD, frame.channel, len(payload)) + payload + b"\xce"

    # -- heartbeats: txamqp's two timers, which only look at flags instead of being set anew for each frame

    def start_heartbeats(self, seconds: int) -> None:
        """Send and expect heartbeats from now on; 0 for neither."""
        self.heartbeat = self.heartbeatInterval = seconds
        if seconds:
            self.sendHB = LoopingCall(self.send_heartbeat)
            self.sendHB.clock = self.clock
            self.sendHB.start(seconds / 2, now=False).addErrback(self.treatment_failed)
            self.checkHB = self.clock.callLater(seconds / 2, self.check_heartbeat)

    def reschedule_send_heartbeat(self) -> None:
        self._wrote = True

    def reschedule_check_heartbeat(self) -> None:
        self._heard = True

    def send_heartbeat(self) -> None:
        """Twice per interval, unless something else was sent."""
        if not self._wrote:
            super().send_heartbeat()
        self._wrote = False

    def check_heartbeat(self) -> None:
        """Twice per interval.  While reading is paused silence is our own doing."""
        if self._heard or self._reading_paused:
            self._heard = False
            self._unheard = 0
        else:
            self._unheard += 1
            if self._unheard >= 2 * self.MAX_UNSEEN_HEARTBEAT:
                silence = self.MAX_UNSEEN_HEARTBEAT * self.heartbeat
                self.break_off(f"sent nothing for {silence}s, not even heartbeats")
                return
        self.checkHB = self.clock.callLater(self.heartbeat / 2, self.check_heartbeat)


def ignore(data: bytes) -> None:
    """Octets that come after the end."""
