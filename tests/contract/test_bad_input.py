"""Octets that are not AMQP, or not now: the specified error, a closed connection, and nobody else disturbed."""

from __future__ import annotations

import struct

import pytest
from pamqp import base, commands

from tests.contract.target import Target
from trabbits.testing.raw_client import (
    BODY,
    HEADER,
    METHOD,
    Closed,
    RawClient,
    content_header,
    encode_methods,
    raw_frame,
)

PUBLISH = encode_methods(commands.Basic.Publish(exchange="", routing_key="nobody"), channel=1)
QOS = encode_methods(commands.Basic.Qos(prefetch_count=1), channel=1)


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"AMQP\x00\x00\x08\x00",
        b"AMQP\x01\x01\x00\x0a",
        b"AMQP\x00\x01\x00\x00\x00",
        b"\x00" * 8,
    ],
    ids=["HTTP", "AMQP 0-8", "AMQP 0-10", "AMQP 1.0", "zeros"],
)
def test_a_wrong_greeting_is_answered_with_the_right_one(target: Target, greeting: bytes) -> None:
    client = target.dial()
    client.send_octets(greeting)
    client.sock.settimeout(10)
    answer = b""
    try:
        while data := client.sock.recv(100):
            answer += data
    except ConnectionResetError:
        pass  # closed with octets of ours unread
    assert answer == b"AMQP\x00\x00\x09\x01"


def oversized(client: RawClient) -> bytes:
    """The head of a frame that is too large even with the 8 octets RabbitMQ forgives; its payload never comes."""
    return struct.pack(">BHI", METHOD, 1, client.frame_max + 1)


BAD: dict[str, tuple[bytes, set[int]]] = {
    "a bad frame end": (QOS[:-1] + b"\xcf", {501}),
    "content without a publish": (raw_frame(HEADER, 1, content_header(0)), {505}),
    "a body without content": (raw_frame(BODY, 1, b"x"), {505}),
    "a method instead of a header": (PUBLISH + QOS, {505}),
    "a body instead of a header": (PUBLISH + raw_frame(BODY, 1, b"x"), {505}),
    "a method instead of a body": (PUBLISH + raw_frame(HEADER, 1, content_header(4)) + QOS, {505}),
    "a second header": (PUBLISH + raw_frame(HEADER, 1, content_header(4)) * 2, {505}),
    "a channel method on channel 0": (encode_methods(commands.Basic.Qos(), channel=0), {503, 504}),
    "a reply nobody asked for": (encode_methods(commands.Queue.DeclareOk("q", 0, 0), channel=1), {503}),
    "a cut off method": (raw_frame(METHOD, 1, struct.pack(">HH", 50, 10) + b"\x00\x00\x09shor"), {501, 502}),
    "a header of another class": (PUBLISH + raw_frame(HEADER, 1, struct.pack(">HHQH", 50, 0, 0, 0)), {505}),
}


@pytest.mark.parametrize(("octets", "codes"), BAD.values(), ids=BAD.keys())
def test_what_makes_no_sense_closes_the_connection(target: Target, octets: bytes, codes: set[int]) -> None:
    bystander = target.channel()
    client = target.raw()
    client.open_channel(1)
    client.send_octets(octets)
    close = client.expect(commands.Connection.Close)
    assert close.reply_code in codes
    client.send(commands.Connection.CloseOk())
    assert bystander.queue_declare("", exclusive=True).method.queue


@pytest.mark.parametrize("frame_max", [4096, 131072])
def test_a_frame_larger_than_agreed_closes_the_connection_before_it_is_there(target: Target, frame_max: int) -> None:
    client = target.raw(frame_max=frame_max)
    client.open_channel(1)
    client.send_octets(oversized(client))
    assert client.expect(commands.Connection.Close).reply_code == 501


def test_a_frame_of_exactly_the_agreed_size_is_fine(target: Target) -> None:
    client = target.raw(frame_max=4096)
    client.open_channel(1)
    room = 4096 - 8 - len(encode_methods(commands.Queue.Declare(queue="q", arguments={"x": ""}), channel=1)) + 8
    declare = commands.Queue.Declare(queue="q", exclusive=True, arguments={"x": "y" * room})
    octets = encode_methods(declare, channel=1)
    assert len(octets) == 4096
    client.send_octets(octets)
    assert client.expect(commands.Queue.DeclareOk, 1).queue == "q"


@pytest.mark.parametrize(
    "method", [commands.Channel.Open(), commands.Queue.Declare(queue="q"), commands.Connection.Open("/")]
)
def test_a_method_before_its_time_does_not_open_anything(target: Target, method: base.Frame) -> None:
    client = target.dial()
    client.send_octets(b"AMQP\x00\x00\x09\x01")
    client.expect(commands.Connection.Start)
    client.send(method, channel=0 if method.name.startswith("Connection") else 1)
    try:
        received = client.receive(timeout=10).method
    except Closed:
        return
    assert isinstance(received, commands.Connection.Close), received
    assert received.reply_code in (503, 504, 505)


@pytest.mark.parametrize(
    ("channel_max", "frame_max"), [(0xFFFF, 131072), (2047, 1000), (2047, 131073), (2047, 2**31)], ids=str
)
def test_a_client_may_not_agree_on_more_than_it_was_offered(target: Target, channel_max: int, frame_max: int) -> None:
    client = target.dial()
    client.start("guest", "guest")
    client.expect(commands.Connection.Tune)
    client.send(commands.Connection.TuneOk(channel_max=channel_max, frame_max=frame_max, heartbeat=0))
    client.open_vhost("/")
    try:
        close = client.expect(commands.Connection.Close, timeout=10)
    except Closed:
        return  # RabbitMQ says nothing before the connection is open
    assert close.reply_code == 530
