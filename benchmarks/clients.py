"""Bare AMQP clients of the load generator: a polite set-up, then nothing but octets.

What lives here: a blocking connection that speaks just enough AMQP to be ready for the load, and the
pre-encoded octets of the messages. Frames of the set-up are made by pamqp; the load itself neither encodes nor
parses a frame. What it must not know: who listens at the other end, clocks, and anything of trabbits.
"""

from __future__ import annotations

import secrets
import socket
import struct
from typing import TypeVar

from attrs import frozen
from pamqp import base, body, commands, frame, header
from pamqp.exceptions import UnmarshalingException

CHANNEL = 1
CONSUMER_TAG = "bench"
EXCHANGE = "amq.direct"
FRAME_OVERHEAD = 8
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
ACK_LENGTH = 21
"""Octets of a basic.ack frame in either direction, so of a confirm, too."""
ACK_TAG_OFFSET = 11
"""Where the delivery tag of a basic.ack frame starts: after frame header, class and method."""

M = TypeVar("M", bound=base.Frame)


class BenchError(Exception):
    """The other end did something that no benchmark can go on with; the text says what."""


class Client:
    """A blocking AMQP connection with one open channel: user guest, virtual host /, no heartbeats.

    :raises BenchError: when the other end refuses, closes or answers something else.
    """

    def __init__(self, port: int, timeout: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pending = b""
        try:
            self._shake_hands()
        except BaseException:
            self.socket.close()
            raise

    def _shake_hands(self) -> None:
        self.socket.sendall(PROTOCOL_HEADER)
        self.server_properties = self._expect(commands.Connection.Start).server_properties or {}
        credentials = commands.Connection.StartOk({"product": "bench"}, "PLAIN", "\0guest\0guest", "en_US")
        tune = self.call(credentials, commands.Connection.Tune, channel=0)
        self._send(commands.Connection.TuneOk(tune.channel_max or 2047, tune.frame_max or 131072, 0), 0)
        self.call(commands.Connection.Open("/"), commands.Connection.OpenOk, channel=0)
        self.call(commands.Channel.Open(), commands.Channel.OpenOk)

    def call(self, method: base.Frame, reply: type[M], channel: int = CHANNEL) -> M:
        """Send a method and wait for its reply."""
        self._send(method, channel)
        return self._expect(reply)

    def _send(self, method: base.Frame, channel: int) -> None:
        self.socket.sendall(frame.marshal(method, channel))

    def _expect(self, reply: type[M]) -> M:
        value = frame.unmarshal(self._read_frame())[2]
        if not isinstance(value, reply):
            raise BenchError(f"expected {reply.name}, got {describe(value)}")
        return value

    def _read_frame(self) -> bytes:
        while True:
            if len(self._pending) >= FRAME_OVERHEAD:
                end = int.from_bytes(self._pending[3:7]) + FRAME_OVERHEAD
                if len(self._pending) >= end:
                    whole, self._pending = self._pending[:end], self._pending[end:]
                    return whole
            self._pending += self._read()

    def _read(self) -> bytes:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise BenchError("no answer in time") from None
        if not data:
            raise BenchError("the other end closed the socket")
        return data

    def consume(self, workload: Workload, no_ack: bool) -> None:
        """Declare the workload's queue, bind it under both keys and consume from it."""
        self.call(commands.Queue.Declare(queue=workload.queue, auto_delete=True), commands.Queue.DeclareOk)
        for key in workload.keys:
            self.call(commands.Queue.Bind(0, workload.queue, EXCHANGE, key), commands.Queue.BindOk)
        consume = commands.Basic.Consume(queue=workload.queue, consumer_tag=CONSUMER_TAG, no_ack=no_ack)
        self.call(consume, commands.Basic.ConsumeOk)

    def confirm(self) -> None:
        """Switch the channel to publisher confirms."""
        self.call(commands.Confirm.Select(), commands.Confirm.SelectOk)

    def surrender(self) -> socket.socket:
        """Hand out the socket for raw octets: non-blocking, nothing read ahead."""
        if self._pending:
            raise BenchError(f"{len(self._pending)} octets arrived that nobody asked for")
        self.socket.setblocking(False)
        return self.socket

    def close(self) -> None:
        """Say connection.close and wait for the answer, whatever else still arrives; never fails."""
        try:
            self.socket.settimeout(2.0)
            self._send(commands.Connection.Close(200, "", 0, 0), 0)
            while not isinstance(frame.unmarshal(self._read_frame())[2], commands.Connection.CloseOk):
                pass
        except (OSError, BenchError):
            pass
        finally:
            self.socket.close()


@frozen
class Workload:
    """Messages of one size for one queue, under two keys of equal length, so that all frames are equally long.

    The keys' first words are `a` and `b`: what a fan session routes by.  With `headers`, messages carry three of them,
    and `side` is the one that says the same.
    """

    size: int
    queue: str
    keys: tuple[str, str]
    headers: bool = False

    @classmethod
    def fresh(cls, size: int, *, headers: bool = False) -> Workload:
        """A workload under names that nobody has used before."""
        name = secrets.token_hex(4)
        return cls(size, f"bench-{name}", (f"a.{name}", f"b.{name}"), headers)

    def publish(self, side: int) -> bytes:
        """The three frames of one message under the key of side 0 or 1."""
        method = commands.Basic.Publish(exchange=EXCHANGE, routing_key=self.keys[side])
        return frame.marshal(method, CHANNEL) + self._content(side)

    @property
    def deliver_length(self) -> int:
        """Octets of one delivery: the three frames."""
        method = commands.Basic.Deliver(CONSUMER_TAG, 1, False, EXCHANGE, self.keys[0])
        return len(frame.marshal(method, CHANNEL)) + len(self._content(0))

    def _content(self, side: int) -> bytes:
        headers = {"content-version": "3", "side": "ab"[side], "trace": "00-4bf92f3577b34da6"} if self.headers else None
        properties = commands.Basic.Properties(headers=headers, delivery_mode=1)
        content_header = header.ContentHeader(0, self.size, properties)
        payload = frame.marshal(body.ContentBody(b"x" * self.size), CHANNEL)
        return frame.marshal(content_header, CHANNEL) + payload


def ack_then_publish(workload: Workload, side: int) -> bytearray:
    """A basic.ack with tag 0, to be patched at ACK_TAG_OFFSET, and one message behind it."""
    ack = frame.marshal(commands.Basic.Ack(0, False), CHANNEL)
    if len(ack) != ACK_LENGTH:
        raise BenchError(f"a basic.ack frame of {len(ack)} octets")
    return bytearray(ack + workload.publish(side))


PATCH_TAG = struct.Struct(">Q").pack_into


def describe(value: object) -> str:
    """One line about a decoded frame, with the reply text where it is a close."""
    if isinstance(value, commands.Connection.Close | commands.Channel.Close):
        return f"{value.name} {value.reply_code} {value.reply_text}"
    return str(getattr(value, "name", value))


def describe_octets(octets: bytes) -> str:
    """One line about the first frame of what was received."""
    if not octets:
        return "end of the stream"
    try:
        return describe(frame.unmarshal(octets)[2])
    except UnmarshalingException:
        return f"something unreadable: {octets[:20]!r}"
