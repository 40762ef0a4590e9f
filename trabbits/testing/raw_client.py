"""A small AMQP client over a blocking socket, for tests that must see exact frames.

Lives here: `RawClient`, the values it returns, and `eventually`.  It frames by hand and lets pamqp decode only
methods, so that content headers and bodies are compared octet by octet.  It never retries and never waits without
a deadline.  Must not know: whether a proxy or a broker is at the other end.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, field, frozen
from pamqp import base, commands
from pamqp import frame as codec

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE

#: What a modern client says it can do; RabbitMQ behaves differently towards one that says nothing.
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}

T = TypeVar("T")
M = TypeVar("M", bound=base.Frame)


def eventually(probe: Callable[[], T | None], within: float = 10.0, what: str = "") -> T:
    """The first true value of `probe`, asked again and again; AssertionError after `within` seconds.

    An assertion that fails inside `probe` counts as "not yet", and is what is shown at the end.
    """
    deadline = time.monotonic() + within
    pause = 0.002
    while True:
        failure: AssertionError | None = None
        try:
            value = probe()
            if value:
                return value
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"not within {within} s: {what or probe}")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


@frozen
class Frame:
    """One frame as it was on the wire."""

    kind: int
    channel: int
    payload: bytes

    @property
    def octets(self) -> bytes:
        return struct.pack(">BHI", self.kind, self.channel, len(self.payload)) + self.payload + bytes([FRAME_END])

    @property
    def method(self) -> base.Frame | None:
        """The decoded method, or None for any other kind of frame."""
        if self.kind != METHOD:
            return None
        decoded = codec.unmarshal(self.octets)[2]
        assert isinstance(decoded, base.Frame)
        return decoded

    def __str__(self) -> str:
        method = self.method
        if method is None:
            return f"[{self.channel}] frame type {self.kind}, {len(self.payload)} octets"
        return f"[{self.channel}] {method.name} {dict(method)}"


@frozen
class Content:
    """A message as it arrived: its content header's payload and its body, and how the body was cut."""

    channel: int
    method: Any
    header: bytes
    body: bytes
    pieces: tuple[int, ...]

    @property
    def properties(self) -> bytes:
        """The property flags and property list, octet by octet."""
        return self.header[12:]


class Closed(Exception):
    """The peer closed the socket."""


@define
class RawClient:
    """One AMQP connection, or what a test makes of it."""

    sock: socket.socket
    timeout: float = 15.0
    frame_max: int = 131072
    channel_max: int = 0
    heartbeat: int = 0
    server_properties: dict[str, Any] = field(factory=dict)
    heartbeats_received: int = 0
    _buffer: bytearray = field(factory=bytearray)

    @classmethod
    def dial(cls, host: str, port: int, timeout: float = 15.0) -> RawClient:
        """A TCP connection on which nothing was said yet."""
        sock = socket.create_connection((host, port), timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock, timeout=timeout)

    @classmethod
    def open(
        cls,
        host: str,
        port: int,
        *,
        vhost: str = "/",
        username: str = "guest",
        password: str = "guest",
        frame_max: int = 131072,
        channel_max: int = 0,
        heartbeat: int = 0,
        client_properties: Mapping[str, Any] | None = None,
        timeout: float = 15.0,
    ) -> RawClient:
        """An opened connection; a refusal is an AssertionError that shows the frame."""
        client = cls.dial(host, port, timeout)
        client.start(username, password, client_properties)
        client.tune(frame_max, channel_max, heartbeat)
        client.open_vhost(vhost)
        client.expect(commands.Connection.OpenOk)
        return client

    def start(self, username: str, password: str, client_properties: Mapping[str, Any] | None = None) -> None:
        """Protocol header, start, start-ok with PLAIN."""
        self.send_octets(PROTOCOL_HEADER)
        start = self.expect(commands.Connection.Start)
        self.server_properties = dict(start.server_properties)
        usual: dict[str, Any] = {"product": "raw", "capabilities": CAPABILITIES}
        self.send(
            commands.Connection.StartOk(
                client_properties=dict(client_properties) if client_properties is not None else usual,
                mechanism="PLAIN",
                response=f"\0{username}\0{password}",
                locale="en_US",
            )
        )

    def tune(self, frame_max: int = 131072, channel_max: int = 0, heartbeat: int = 0) -> commands.Connection.Tune:
        """Waits for tune and answers with at most what the server offers (0: the server's own value)."""
        offer = self.expect(commands.Connection.Tune)
        self.frame_max = min(frame_max or offer.frame_max, offer.frame_max or frame_max)
        self.channel_max = min(channel_max or offer.channel_max, offer.channel_max or channel_max)
        self.heartbeat = heartbeat
        self.send(
            commands.Connection.TuneOk(channel_max=self.channel_max, frame_max=self.frame_max, heartbeat=self.heartbeat)
        )
        return offer

    def open_vhost(self, vhost: str) -> None:
        """Sends connection.open; the reply is left to be read."""
        method = commands.Connection.Open()
        method.virtual_host = vhost  # set afterwards: pamqp would check it against the specification's narrow alphabet
        self.send(method)

    def open_channel(self, channel: int = 1) -> int:
        """Opens channel `channel` and returns its number."""
        self.call(commands.Channel.Open(), commands.Channel.OpenOk, channel)
        return channel

    def own_queue(self, channel: int = 1) -> str:
        """Declares an exclusive queue that the server names; its name."""
        name = self.call(commands.Queue.Declare(exclusive=True), commands.Queue.DeclareOk, channel).queue
        assert name
        return name

    # -- sending

    def send_octets(self, octets: bytes) -> None:
        self.sock.settimeout(self.timeout)
        self.sock.sendall(octets)

    def send(self, *methods: base.Frame, channel: int = 0) -> None:
        """All methods in one write."""
        self.send_octets(b"".join(codec.marshal(method, channel) for method in methods))

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        *,
        channel: int = 1,
        properties: bytes = b"\x00\x00",
        mandatory: bool = False,
    ) -> None:
        """One message in one write; `properties` are the raw flags and list."""
        self.send_octets(
            encode_publish(
                exchange,
                routing_key,
                body,
                channel=channel,
                properties=properties,
                mandatory=mandatory,
                frame_max=self.frame_max,
            )
        )

    # -- receiving

    def receive(self, timeout: float | None = None, *, heartbeats: bool = False) -> Frame:
        """The next frame; heartbeats are counted and skipped unless asked for.

        TimeoutError when none comes in time, `Closed` when the peer closed the socket.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            received = self._next_frame(deadline)
            if received.kind != HEARTBEAT:
                return received
            self.heartbeats_received += 1
            if heartbeats:
                return received

    def receive_method(self, timeout: float | None = None) -> tuple[int, base.Frame]:
        """The next frame, which has to be a method: its channel and itself."""
        received = self.receive(timeout)
        method = received.method
        assert method is not None, f"wanted a method, got {received}"
        return received.channel, method

    def expect(self, kind: type[M], channel: int = 0, timeout: float | None = None) -> M:
        """The next frame, which has to be a `kind` on `channel`."""
        received = self.receive(timeout)
        method = received.method
        assert isinstance(method, kind), f"wanted [{channel}] {kind.name}, got {received}"
        assert received.channel == channel, f"wanted [{channel}] {kind.name}, got {received}"
        return method

    def expect_content(self, kind: type[M], channel: int = 1, timeout: float | None = None) -> Content:
        """The next message (deliver, return or get-ok): its frames must follow each other on `channel`."""
        method = self.expect(kind, channel, timeout)
        header = self.receive(timeout)
        assert (header.kind, header.channel) == (HEADER, channel), f"wanted a content header, got {header}"
        size = struct.unpack_from(">Q", header.payload, 4)[0]
        pieces: list[bytes] = []
        while size > 0:
            piece = self.receive(timeout)
            assert (piece.kind, piece.channel) == (BODY, channel), f"wanted a body frame, got {piece}"
            assert piece.payload, "an empty body frame inside a message"
            pieces.append(piece.payload)
            size -= len(piece.payload)
        assert size == 0, "more body than the content header announced"
        return Content(channel, method, header.payload, b"".join(pieces), tuple(map(len, pieces)))

    def call(self, method: base.Frame, reply: type[M], channel: int = 1, timeout: float | None = None) -> M:
        """Sends `method` and wants `reply` as the very next frame."""
        self.send(method, channel=channel)
        return self.expect(reply, channel, timeout)

    def expect_socket_closed(self, timeout: float | None = None) -> None:
        """Nothing but heartbeats comes any more, and then the end of the stream."""
        try:
            surprise = self.receive(timeout)
        except Closed:
            return
        raise AssertionError(f"wanted a closed socket, got {surprise}")

    def close(self) -> None:
        """Closes the socket without a word; see `close_politely` for the other way."""
        self.sock.close()

    def close_politely(self) -> None:
        """connection.close, and everything up to close-ok is read and dropped."""
        self.send(commands.Connection.Close(200, "done", 0, 0))
        while not isinstance(self.receive().method, commands.Connection.CloseOk):
            pass
        self.sock.close()

    def _next_frame(self, deadline: float) -> Frame:
        while len(self._buffer) < 7:
            self._fill(deadline)
        kind, channel, size = struct.unpack_from(">BHI", self._buffer)
        assert size + 8 <= max(self.frame_max, 4096), f"a frame of {size + 8} octets, frame_max is {self.frame_max}"
        while len(self._buffer) < size + 8:
            self._fill(deadline)
        assert self._buffer[size + 7] == FRAME_END, f"a frame of type {kind} ends with {self._buffer[size + 7]:#x}"
        payload = bytes(self._buffer[7 : size + 7])
        del self._buffer[: size + 8]
        return Frame(kind, channel, payload)

    def _fill(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no frame in time")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError as error:
            raise Closed("reset") from error
        if not data:
            raise Closed("end of stream")
        self._buffer += data


def raw_frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame's octets, whatever its payload."""
    return Frame(kind, channel, payload).octets


def encode_methods(*methods: base.Frame, channel: int) -> bytes:
    """The octets of several methods on one channel."""
    return b"".join(codec.marshal(method, channel) for method in methods)


def content_header(size: int, properties: bytes = b"\x00\x00") -> bytes:
    """The payload of a basic content header frame."""
    return struct.pack(">HHQ", 60, 0, size) + properties


def encode_publish(
    exchange: str,
    routing_key: str,
    body: bytes = b"",
    *,
    channel: int = 1,
    properties: bytes = b"\x00\x00",
    mandatory: bool = False,
    frame_max: int = 131072,
) -> bytes:
    """The octets of one published message, its body cut at `frame_max`."""
    method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    size = frame_max - 8
    return b"".join(
        [
            codec.marshal(method, channel),
            raw_frame(HEADER, channel, content_header(len(body), properties)),
            *(raw_frame(BODY, channel, body[at : at + size]) for at in range(0, len(body), size)),
        ]
    )


def tags_covered(confirms: Sequence[tuple[int, bool]], outstanding: set[int]) -> set[int]:
    """Which of `outstanding` publisher tags the given (tag, multiple) confirms cover."""
    covered: set[int] = set()
    for tag, multiple in confirms:
        covered |= {t for t in outstanding if t <= tag} if multiple else {tag}
    return covered
