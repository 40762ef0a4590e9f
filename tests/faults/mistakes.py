"""What a client can do wrong on an open connection: octets, and what they must be answered with.

Lives here: the table.  Must not know: who answers; ``test_bad_input.py`` asks trabbits.
Channel 1 is open and nothing else has happened; `FRAME_MAX` and `CHANNEL_MAX` are what was negotiated.
"""

from __future__ import annotations

import struct

from attrs import frozen
from pamqp import base, commands

from trabbits.testing.raw_client import BODY, HEADER, HEARTBEAT, METHOD, content_header, encode_methods, raw_frame

FRAME_MAX = 8192
CHANNEL_MAX = 20
#: A method frame whose arguments are missing or wrong.
QUEUE_DECLARE = struct.pack(">HH", 50, 10)
CLOSED_CHANNEL = 7


@frozen
class Mistake:
    """Octets on an open connection, and the connection.close they bring: code, words of its text, failing method.

    `from_upstream`: code and words where a plain session leaves the answer to its upstream.
    """

    name: str
    octets: bytes
    code: int
    words: str
    failing: tuple[int, int] | None = None
    from_upstream: tuple[int, str] | None = None


def publish(channel: int = 1) -> bytes:
    """A basic.publish without its content."""
    return encode_methods(commands.Basic.Publish(exchange="", routing_key="nobody"), channel=channel)


def header(size: int, channel: int = 1) -> bytes:
    return raw_frame(HEADER, channel, content_header(size))


def body(size: int, channel: int = 1) -> bytes:
    return raw_frame(BODY, channel, b"b" * size)


def qos(channel: int = 1) -> bytes:
    return encode_methods(commands.Basic.Qos(prefetch_count=1), channel=channel)


def on_0(method: base.Frame) -> bytes:
    return encode_methods(method, channel=0)


def on_1(method: base.Frame) -> bytes:
    return encode_methods(method, channel=1)


def declare(arguments: bytes) -> bytes:
    """A queue.declare whose arguments are these octets."""
    return raw_frame(METHOD, 1, QUEUE_DECLARE + arguments)


def cut_off(name: str, class_id: int, method_id: int, arguments: bytes, words: str) -> Mistake:
    """A method whose arguments are too short.  A plain session does not look into it: the upstream does."""
    octets = raw_frame(METHOD, 1, struct.pack(">HH", class_id, method_id) + arguments)
    return Mistake(name, octets, 501, words, (class_id, method_id), (501, "cannot decode <<"))


FRAMES = [
    Mistake("a frame too large", raw_frame(METHOD, 1, bytes(FRAME_MAX)), 501, f"frame_max of {FRAME_MAX}"),
    Mistake(
        "the head of a frame too large", struct.pack(">BHI", BODY, 1, 0xFFFFFFFF), 501, f"frame_max of {FRAME_MAX}"
    ),
    Mistake("a body one octet too large", publish() + header(9000) + body(FRAME_MAX - 7), 501, "8193 octets"),
    Mistake("a bad frame end", qos()[:-1] + b"\xcf", 501, "ends with octet 0xcf, expected 0xce"),
    Mistake("a bad end of a heartbeat", b"\x08\x00\x00\x00\x00\x00\x00\x00", 501, "ends with octet 0x00"),
    Mistake("an unknown frame type", raw_frame(5, 0, b"?"), 501, "unknown frame type 5"),
    Mistake("garbage in place of frames", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", 501, "frame type 71"),
    Mistake("a heartbeat on a channel", raw_frame(HEARTBEAT, 1, b""), 503, "heartbeat on channel 1"),
    Mistake("a heartbeat with a payload", raw_frame(HEARTBEAT, 0, b"thump"), 501, "heartbeat"),
    Mistake("a method frame without a method", raw_frame(METHOD, 1, b"\x00\x32"), 501, "2 octets has no method id"),
]

ORDER = [
    Mistake("a header without a method", header(5), 505, "expected a method frame on channel 1, got a content header"),
    Mistake("a body without a method", body(5), 505, "expected a method frame on channel 1, got a content body"),
    Mistake("a body before its header", publish() + body(5), 505, "expected content header on channel 1"),
    Mistake("a method in place of a header", publish() + qos(), 505, "got a method frame instead"),
    Mistake("a method inside a body", publish() + header(5) + body(2) + qos(), 505, "expected content body"),
    Mistake("a second header", publish() + header(5) * 2, 505, "expected content body on channel 1"),
    Mistake("a longer body than announced", publish() + header(5) + body(6), 505, "1 octets longer"),
    Mistake("a body too long in its second frame", publish() + header(5) + body(3) * 2, 505, "1 octets longer"),
    Mistake("a header that is too short", publish() + raw_frame(HEADER, 1, bytes(5)), 501, "header of 5 octets"),
    Mistake(
        "a header of another class", publish() + raw_frame(HEADER, 1, struct.pack(">HHQH", 50, 0, 0, 0)), 505, "50"
    ),
]

CHANNELS = [
    Mistake("a method on no channel", qos(CLOSED_CHANNEL), 504, "basic.qos on channel 7", (60, 10)),
    Mistake("a publish on no channel", publish(CLOSED_CHANNEL), 504, "basic.publish on channel 7", (60, 40)),
    Mistake(
        "a close of no channel",
        encode_methods(commands.Channel.Close(200, "", 0, 0), channel=7),
        504,
        "channel 7",
        (20, 40),
    ),
    Mistake("a header on no channel", header(5, CLOSED_CHANNEL), 505, "channel 7"),
    Mistake(
        "a second open", encode_methods(commands.Channel.Open(), channel=1), 504, "second 'channel.open'", (20, 10)
    ),
    Mistake(
        "a channel above the limit",
        encode_methods(commands.Channel.Open(), channel=CHANNEL_MAX + 1),
        530,
        f"channel_max of {CHANNEL_MAX}",
        (20, 10),
    ),
]

METHODS = [
    Mistake("a delivery", on_1(commands.Basic.Deliver("t", 1, False, "", "")), 503, "servers only", (60, 60)),
    Mistake("an open-ok", on_1(commands.Channel.OpenOk()), 503, "channel.open-ok is sent by servers", (20, 11)),
    Mistake("a declare-ok", on_1(commands.Queue.DeclareOk("q", 0, 0)), 503, "queue.declare-ok", (50, 11)),
    Mistake("open on channel 1", on_1(commands.Connection.Open()), 503, "belongs to channel 0", (10, 40)),
    Mistake("close on channel 1", on_1(commands.Connection.Close(200, "", 0, 0)), 503, "connection.close", (10, 50)),
    Mistake("start-ok again", on_0(commands.Connection.StartOk()), 504, "connection.start-ok", (10, 11)),
    Mistake("open again", on_0(commands.Connection.Open()), 504, "connection.open on channel 0", (10, 40)),
    Mistake("tune of a server", on_0(commands.Connection.Tune()), 504, "connection.tune", (10, 30)),
    Mistake("a queue on channel 0", on_0(commands.Queue.Declare(queue="q")), 504, "queue.declare", (50, 10)),
    Mistake("an unknown method", raw_frame(METHOD, 1, struct.pack(">HH", 60, 999)), 540, "60", (60, 999)),
    Mistake("an unknown class", raw_frame(METHOD, 1, struct.pack(">HH", 999, 10)), 540, "999", (999, 10)),
]

ARGUMENTS = [
    Mistake("no arguments at all", declare(b""), 501, "queue.declare", (50, 10)),
    Mistake("a name longer than its frame", declare(b"\x00\x00\x09shor"), 501, "queue", (50, 10)),
    Mistake(
        "octets left over", declare(b"\x00\x00\x01q\x00\x00\x00\x00\x00" + b"more"), 501, "queue.declare", (50, 10)
    ),
    Mistake(
        "a table of an unknown type",
        declare(b"\x00\x00\x01q\x00\x00\x00\x00\x04\x01x?\x00"),
        501,
        "field table",
        (50, 10),
    ),
    Mistake(
        "a table longer than its frame", declare(b"\x00\x00\x01q\x00\x00\x00\x01\x00\x01x"), 501, "arguments", (50, 10)
    ),
    cut_off("an ack without its tag", 60, 80, struct.pack(">I", 1), "basic.ack"),
    cut_off("a publish cut off", 60, 40, b"\x00\x00\xc8x", "basic.publish"),
    cut_off("a consume cut off", 60, 20, b"\x00\x00\x05q", "basic.consume"),
    cut_off("a bind cut off", 50, 20, b"\x00\x00\x05q", "queue.bind"),
]

MISTAKES = [*FRAMES, *ORDER, *CHANNELS, *METHODS, *ARGUMENTS]
