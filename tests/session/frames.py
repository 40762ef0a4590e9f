"""Frames for the tests of sessions, made, described and followed by a codec that is not ours: pamqp.

The channel always comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

from pamqp import base, body, commands, frame, header, heartbeat

Basic = commands.Basic
Channel = commands.Channel
Confirm = commands.Confirm
Connection = commands.Connection
Exchange = commands.Exchange
Queue = commands.Queue
Tx = commands.Tx

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = frame.marshal(heartbeat.Heartbeat(), 0)


def on(channel: int, *methods: base.Frame) -> bytes:
    """These methods on a channel."""
    return b"".join(frame.marshal(method, channel) for method in methods)


def content(channel: int, octets: bytes = b"", piece: int = 100_000) -> bytes:
    """A content header and the body, in frames of so many octets of payload."""
    head = frame.marshal(header.ContentHeader(0, len(octets), commands.Basic.Properties()), channel)
    pieces = [octets[at : at + piece] for at in range(0, len(octets), piece)]
    return head + b"".join(frame.marshal(body.ContentBody(each), channel) for each in pieces)


def publish(channel: int, key: str, octets: bytes = b"", exchange: str = "x", **options: bool) -> bytes:
    """A whole basic.publish."""
    method = Basic.Publish(exchange=exchange, routing_key=key, **options)
    return on(channel, method) + content(channel, octets)


def deliver(channel: int, consumer_tag: str, tag: int, octets: bytes = b"", redelivered: bool = False) -> bytes:
    """A whole basic.deliver."""
    method = Basic.Deliver(consumer_tag, tag, redelivered, exchange="x", routing_key="k")
    return on(channel, method) + content(channel, octets)


def get_ok(channel: int, tag: int, octets: bytes, count: int) -> bytes:
    """A whole basic.get-ok."""
    method = Basic.GetOk(tag, False, exchange="x", routing_key="k", message_count=count)
    return on(channel, method) + content(channel, octets)


def returned(channel: int, key: str, octets: bytes, exchange: str = "x") -> bytes:
    """A whole basic.return."""
    return on(channel, Basic.Return(312, "NO_ROUTE", exchange, key)) + content(channel, octets)


def channel_close(channel: int, code: int, text: str, method: type[base.Frame] | None = None) -> bytes:
    """A channel.close, about this method if any."""
    index = method.index if method is not None else 0
    return on(channel, Channel.Close(code, text, index >> 16, index & 0xFFFF))


def connection_close(code: int, text: str, method: type[base.Frame] | None = None) -> bytes:
    """A connection.close, about this method if any."""
    index = method.index if method is not None else 0
    return on(0, Connection.Close(code, text, index >> 16, index & 0xFFFF))


def split(octets: bytes) -> list[bytes]:
    """Whole frames, one by one; a protocol header is one, too."""
    frames = []
    while octets:
        size = 8 if octets.startswith(b"AMQP") else int.from_bytes(octets[3:7], "big") + 8
        assert len(octets) >= size, f"a frame is cut: {octets!r}"
        frames.append(octets[:size])
        octets = octets[size:]
    return frames


def describe(octets: bytes) -> str:
    """One frame for people, on one line."""
    if octets.startswith(b"AMQP"):
        return "protocol header"
    channel = int.from_bytes(octets[1:3], "big")
    try:
        _, _, value = frame.unmarshal(octets)
    except Exception:
        return f"[{channel}] {octets!r}"
    if isinstance(value, header.ContentHeader):
        return f"[{channel}] header of {value.body_size} octets"
    if isinstance(value, body.ContentBody):
        shown = repr(value.value) if len(value.value) <= 40 else f"{value.value[:20]!r}... ({len(value.value)})"
        return f"[{channel}] body {shown}"
    if isinstance(value, base.Frame):
        fields = " ".join(f"{name}={field!r}" for name, field in value if name != "ticket")
        return f"[{channel}] {value.name} {fields}".rstrip()
    return f"[{channel}] heartbeat"


class Follower:
    """Follows what one side gets, as a strict peer would: whole frames, contents in order (section 4.2.6).

    `messages` are (channel, method, body) of methods with content that are complete.
    """

    def __init__(self) -> None:
        self._whole: list[tuple[int, bytes, bytes]] = []
        self._open: dict[int, tuple[bytes, int, bytes]] = {}

    @property
    def messages(self) -> list[tuple[int, base.Frame, bytes]]:
        """All messages that are complete."""
        return [(channel, decoded(method), octets) for channel, method, octets in self._whole]

    def follow(self, frames: Iterable[bytes]) -> None:
        """Look at frames; fails when they could not have been sent by a correct peer."""
        for octets in frames:
            if octets.startswith(b"AMQP"):
                continue
            kind, channel, size = octets[0], int.from_bytes(octets[1:3], "big"), len(octets) - 8
            started = self._open.pop(channel, None)
            if kind in (1, 8):
                assert started is None, f"a method in the middle of a message: {describe(octets)}"
                if kind == 1 and octets[7:11] in CARRYING:
                    self._open[channel] = (octets, -1, b"")
                continue
            assert started is not None, f"content out of nowhere: {describe(octets)}"
            method, left, got = started
            if kind == 2:
                assert left < 0, f"a second header: {describe(octets)}"
                left = int.from_bytes(octets[11:19], "big")
            else:
                assert 0 < left >= size, f"no body was due: {describe(octets)}"
                left, got = left - size, got + octets[7:-1]
            if left:
                self._open[channel] = (method, left, got)
            else:
                self._whole.append((channel, method, got))


CARRYING = (b"\0\x3c\0\x28", b"\0\x3c\0\x32", b"\0\x3c\0\x3c", b"\0\x3c\0\x47")


def decoded(octets: bytes) -> base.Frame:
    """The method in a frame."""
    value = frame.unmarshal(octets)[2]
    assert isinstance(value, base.Frame)
    return value
