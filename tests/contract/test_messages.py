"""Messages of every size and shape: bodies arrive whole in allowed frames, properties octet by octet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pamqp import commands

from tests.clients import (
    BODY,
    HEADER,
    Content,
    RawClient,
    content_header,
    encode_methods,
    encode_publish,
    eventually,
    raw_frame,
)
from tests.contract.target import Node, Target, each_upstream, proxied, unique

SMALL, USUAL = 4096, 131072
MIB = 1024 * 1024


def body_of(size: int) -> bytes:
    """A body in which no two parts look the same."""
    return b"".join(struct.pack(">I", number) for number in range(size // 4 + 1))[:size]


def consuming(target: Target, **options: int) -> tuple[RawClient, str]:
    """A raw connection with a spread queue of its own and a consumer on it that needs no acks."""
    client = target.raw(**options)
    client.open_channel(1)
    queue = unique("messages")
    client.call(commands.Queue.Declare(queue=queue, exclusive=True), commands.Queue.DeclareOk)
    for upstream in "ab":
        bind = commands.Queue.Bind(queue=queue, exchange="amq.direct", routing_key=target.key_for(upstream, queue))
        client.call(bind, commands.Queue.BindOk)
    client.call(commands.Basic.Consume(queue=queue, consumer_tag="c", no_ack=True), commands.Basic.ConsumeOk)
    return client, queue


def sizes() -> list[tuple[int, int]]:
    """Sizes around the edges of a frame, for both frame sizes."""
    rows = []
    for frame_max in (SMALL, USUAL):
        payload = frame_max - 8
        rows += [(frame_max, size) for size in (0, 1, payload - 1, payload, payload + 1, 2 * payload, 2 * payload + 1)]
    return [*rows, (SMALL, MIB), (USUAL, 5 * MIB + 17)]


@each_upstream
@pytest.mark.parametrize(("frame_max", "size"), sizes())
def test_a_body_of_any_size_arrives_whole(target: Target, upstream: str, frame_max: int, size: int) -> None:
    client, queue = consuming(target, frame_max=frame_max)
    assert client.frame_max == frame_max
    body = body_of(size)
    client.publish("amq.direct", target.key_for(upstream, queue), body)
    content = client.expect_content(commands.Basic.Deliver, timeout=15)
    assert content.body == body
    assert all(piece <= frame_max - 8 for piece in content.pieces)
    client.close_politely()


@pytest.mark.parametrize("size", [0, 1, SMALL - 8, SMALL - 7, 300_000])
def test_a_sender_of_large_frames_and_a_reader_of_small_ones_understand_each_other(target: Target, size: int) -> None:
    reader, queue = consuming(target, frame_max=SMALL)
    writer = target.raw(frame_max=USUAL)
    writer.open_channel(1)
    for upstream in "ab":
        writer.publish("amq.direct", target.key_for(upstream, queue), body_of(size))
        assert reader.expect_content(commands.Basic.Deliver).body == body_of(size)


@each_upstream
def test_a_body_may_be_cut_into_frames_of_any_size(target: Target, upstream: str) -> None:
    client, queue = consuming(target)
    body = body_of(2000)
    pieces = [body[:1], body[1:2], body[2:1000], body[1000:]]
    publish = commands.Basic.Publish(exchange="amq.direct", routing_key=target.key_for(upstream, queue))
    octets = encode_methods(publish, channel=1) + raw_frame(HEADER, 1, content_header(len(body)))
    client.send_octets(octets + b"".join(raw_frame(BODY, 1, piece) for piece in pieces))
    assert client.expect_content(commands.Basic.Deliver).body == body


@contextmanager
def offering(node: Node, frame_max: int) -> Iterator[None]:
    """The node offers another frame_max to connections made meanwhile."""
    usual = node.ctl("eval", "application:get_env(rabbit, frame_max).")
    assert "131072" in usual
    node.ctl("eval", f"application:set_env(rabbit, frame_max, {frame_max}).")
    try:
        yield
    finally:
        node.ctl("eval", "application:set_env(rabbit, frame_max, 131072).")


@proxied
def test_bodies_are_cut_again_for_an_upstream_that_wants_smaller_frames(target: Target) -> None:
    with offering(target.node("b"), SMALL):
        client, queue = consuming(target)
    assert client.frame_max == USUAL
    for size in (0, 1, SMALL - 8, SMALL - 7, USUAL - 8, USUAL - 7, 2 * MIB + 3):
        for upstream in "ab":
            client.publish("amq.direct", target.key_for(upstream, queue), body_of(size))
            assert client.expect_content(commands.Basic.Deliver, timeout=15).body == body_of(size)
    client.close_politely()


def shortstr(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def longstr(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


INNER = shortstr(b"deep") + b"S" + longstr(b"inside")
EVERY_FIELD_TYPE = b"".join(
    shortstr(name.encode()) + value
    for name, value in {
        "true": b"t\x01",
        "false": b"t\x00",
        "signed 8": b"b\xff",
        "unsigned 8": b"B\xff",
        "signed 16": b"s\x80\x00",
        "unsigned 16": b"u\xff\xff",
        "signed 32": b"I\x80\x00\x00\x00",
        "unsigned 32": b"i\xff\xff\xff\xff",
        "signed 64": b"l" + struct.pack(">q", -(2**63)),
        "float": b"f" + struct.pack(">f", 1.5),
        "double": b"d" + struct.pack(">d", -2.5e-300),
        "decimal": b"D\x02\x00\x00\x04\xd2",
        "long string": b"S" + longstr("größer".encode()),
        "not UTF-8": b"S" + longstr(b"\xff\xfe\x00"),
        "empty string": b"S" + longstr(b""),
        "byte array": b"x" + longstr(bytes(range(256))),
        "timestamp": b"T" + struct.pack(">Q", 1_700_000_000),
        "void": b"V",
        "array": b"A" + longstr(b"I\x00\x00\x00\x01" + b"S" + longstr(b"two") + b"V" + b"F" + longstr(INNER)),
        "empty array": b"A" + longstr(b""),
        "table": b"F" + longstr(INNER + shortstr(b"more") + b"F" + longstr(b"")),
        "": b"t\x01",
    }.items()
)
HEADERS_ONLY = struct.pack(">H", 0x2000) + longstr(EVERY_FIELD_TYPE)
EVERYTHING = (
    struct.pack(">H", 0xFFFC)
    + shortstr(b"text/plain")
    + shortstr(b"utf-8")
    + longstr(EVERY_FIELD_TYPE)
    + b"\x02\x05"
    + shortstr(b"correlation")
    + shortstr(b"reply")
    + shortstr(b"60000")
    + shortstr(b"message")
    + struct.pack(">Q", 1_700_000_000)
    + shortstr(b"type")
    + shortstr(b"guest")
    + shortstr(b"app")
    + shortstr(b"cluster")
)
SHAPES = {
    "every field type": HEADERS_ONLY,
    "every property": EVERYTHING,
    "an empty content type": struct.pack(">H", 0x8000) + shortstr(b""),
    "an empty header table": struct.pack(">H", 0x2000) + longstr(b""),
    "no properties": b"\x00\x00",
}


@each_upstream
@pytest.mark.parametrize("properties", SHAPES.values(), ids=SHAPES.keys())
def test_properties_arrive_octet_by_octet(target: Target, upstream: str, properties: bytes) -> None:
    client, queue = consuming(target)
    key = target.key_for(upstream, queue)
    client.publish("amq.direct", key, b"body", properties=properties)
    delivered = client.expect_content(commands.Basic.Deliver)
    assert delivered.header == content_header(4, properties)
    client.call(commands.Basic.Cancel(consumer_tag="c"), commands.Basic.CancelOk)
    client.publish("amq.direct", key, b"body", properties=properties)

    def got() -> Content | None:
        client.send(commands.Basic.Get(queue=queue, no_ack=True), channel=1)
        received = client.receive()
        if isinstance(received.method, commands.Basic.GetEmpty):
            return None
        header, body = client.receive(), client.receive()
        return Content(1, received.method, header.payload, body.payload, (len(body.payload),))

    assert eventually(got, what="a message to get").header == content_header(4, properties)
    client.publish("amq.direct", unique(key), b"body", properties=properties, mandatory=True)
    assert client.expect_content(commands.Basic.Return).header == content_header(4, properties)


def test_a_long_stream_of_mixed_sizes_arrives_complete_and_in_order(target: Target) -> None:
    client, queue = consuming(target, frame_max=SMALL)
    sent: dict[str, list[bytes]] = {"a": [], "b": []}
    for number in range(120):
        upstream = "ab"[number % 3 == 0]
        body = struct.pack(">cI", upstream.encode(), number) + body_of(number * 137 % 20_000)
        sent[upstream].append(body)
    octets = [
        encode_publish("amq.direct", target.key_for(body[:1].decode(), queue), body, frame_max=SMALL)
        for body in sorted(sent["a"] + sent["b"], key=lambda body: body[1:5])
    ]
    writer = target.raw(frame_max=SMALL)
    writer.open_channel(1)
    writer.send_octets(b"".join(octets))
    seen: dict[str, list[bytes]] = {"a": [], "b": []}
    for tag in range(1, 121):
        content = client.expect_content(commands.Basic.Deliver)
        assert content.method.delivery_tag == tag
        seen[content.body[:1].decode()].append(content.body)
    assert seen == sent


@each_upstream
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_a_returned_message_of_any_size_comes_back_whole(target: Target, upstream: str, size: int) -> None:
    client = target.raw(frame_max=SMALL)
    client.open_channel(1)
    key = target.key_for(upstream, unique("nobody"))
    client.publish("amq.direct", key, body_of(size), properties=HEADERS_ONLY, mandatory=True)
    returned = client.expect_content(commands.Basic.Return)
    assert (returned.body, returned.properties) == (body_of(size), HEADERS_ONLY)


@each_upstream
def test_heartbeats_and_other_channels_may_come_between_the_frames_of_a_message(target: Target, upstream: str) -> None:
    client, queue = consuming(target)
    client.open_channel(2)
    heartbeat = b"\x08\x00\x00\x00\x00\x00\x00\xce"
    elsewhere = encode_methods(commands.Queue.Declare(queue=queue, passive=True), channel=2)
    publish = commands.Basic.Publish(exchange="amq.direct", routing_key=target.key_for(upstream, queue))
    pieces = [
        encode_methods(publish, channel=1),
        raw_frame(HEADER, 1, content_header(6)),
        raw_frame(BODY, 1, b"abc"),
        raw_frame(BODY, 1, b"def"),
    ]
    for piece in pieces[:-1]:
        client.send_octets(piece + heartbeat)
        client.call(commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk, 2)
    client.send_octets(pieces[-1] + heartbeat + elsewhere)
    frames = [client.receive() for _ in range(4)]
    assert [frame.payload for frame in frames if frame.kind == BODY] == [b"abcdef"]
    assert [frame.method.name for frame in frames if frame.channel == 2 and frame.method] == ["Queue.DeclareOk"]
