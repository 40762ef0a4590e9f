"""Frames as octet literals, and texts that must fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base, commands
from pamqp import frame as pamqp_frame

from trabbits.wire import encode
from trabbits.wire.constants import (
    BASIC_ACK,
    CHANNEL_CLOSE_OK,
    CONNECTION_CLOSE_OK,
    FRAME_BODY,
    FRAME_HEARTBEAT,
    HEARTBEAT_FRAME,
    TX_COMMIT_OK,
)
from trabbits.wire.decode import decode_method
from trabbits.wire.peek import reply_of_close


def made(frame_class: type[base.Frame], **fields: Any) -> base.Frame:
    """A method object with fields that pamqp's constructor would refuse."""
    method = frame_class()
    for field, value in fields.items():
        setattr(method, field, value)
    return method


@pytest.mark.parametrize(
    ("built", "octets"),
    [
        (encode.frame(FRAME_HEARTBEAT, 0, b""), HEARTBEAT_FRAME),
        (encode.frame(FRAME_BODY, 258, b"abc"), b"\x03\x01\x02\0\0\0\x03abc\xce"),
        (encode.ack_frame(1, 2, False), b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x02\0\xce"),
        (encode.ack_frame(1, 2**64 - 1, True), b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50" + b"\xff" * 8 + b"\x01\xce"),
        (encode.nack_frame(1, 2, False, False), b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x78\0\0\0\0\0\0\0\x02\0\xce"),
        (encode.nack_frame(1, 2, True, False), b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x78\0\0\0\0\0\0\0\x02\x01\xce"),
        (encode.nack_frame(1, 2, False, True), b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x78\0\0\0\0\0\0\0\x02\x02\xce"),
        (encode.nack_frame(1, 2, True, True), b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x78\0\0\0\0\0\0\0\x02\x03\xce"),
        (encode.reject_frame(65535, 2, True), b"\x01\xff\xff\0\0\0\x0d\0\x3c\0\x5a\0\0\0\0\0\0\0\x02\x01\xce"),
        (encode.empty_method(7, CHANNEL_CLOSE_OK), b"\x01\0\x07\0\0\0\x04\0\x14\0\x29\xce"),
        (encode.empty_method(0, CONNECTION_CLOSE_OK), b"\x01\0\0\0\0\0\x04\0\x0a\0\x33\xce"),
        (encode.empty_method(3, TX_COMMIT_OK), b"\x01\0\x03\0\0\0\x04\0\x5a\0\x15\xce"),
        (encode.channel_close(5, 404, "no", 50, 10), b"\x01\0\x05\0\0\0\x0d\0\x14\0\x28\x01\x94\x02no\0\x32\0\x0a\xce"),
        (encode.connection_close(320, ""), b"\x01\0\0\0\0\0\x0b\0\x0a\0\x32\x01\x40\0\0\0\0\0\xce"),
    ],
)
def test_frames_are_these_octets(built: bytes, octets: bytes) -> None:
    """Built frames are compared to octets written by hand."""
    assert built == octets


@pytest.mark.parametrize("index", [BASIC_ACK, 0x000A0063])
def test_empty_method_refuses_methods_with_arguments(index: int) -> None:
    """Our own mistake is an error of ours, not a broken frame for the peer."""
    with pytest.raises(ValueError, match="no method without arguments"):
        encode.empty_method(1, index)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("", b""),
        ("x" * 255, b"x" * 255),
        ("x" * 256, b"x" * 252 + b"..."),
        ("ü" * 127, "ü".encode() * 127),
        ("ü" * 128, "ü".encode() * 126 + b"..."),
        ("x" + "ü" * 128, b"x" + "ü".encode() * 125 + b"..."),
        ("€" * 90, "€".encode() * 84 + b"..."),
        ("xx" + "😀" * 70, b"xx" + "😀".encode() * 62 + b"..."),
        ("lone \udcff", b"lone ?"),
    ],
)
def test_a_text_is_cut_between_characters(text: str, octets: bytes) -> None:
    """A reply text fits a short string and stays UTF-8."""
    assert encode.cut_text(text) == octets


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.text(max_size=300),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
)
def test_a_close_says_what_it_was_told(channel: int, code: int, text: str, class_id: int, method_id: int) -> None:
    """Whatever the text, a close can be read again and says as much of it as fits."""
    built = encode.channel_close(channel, code, text, class_id, method_id)
    assert reply_of_close(built) == (code, encode.cut_text(text).decode(), class_id, method_id)
    assert encode.connection_close(code, text, class_id, method_id)[11:] == built[11:]


@pytest.mark.parametrize(
    ("method", "payload"),
    [
        (
            made(commands.Connection.Open, virtual_host="x" * 200, capabilities="caps", insist=True),
            b"\0\x0a\0\x28\xc8" + b"x" * 200 + b"\x04caps\x01",
        ),
        (
            made(commands.Exchange.Declare, ticket=7, exchange="a/ü*", exchange_type="x-odd"),
            b"\0\x28\0\x0a\0\x07\x05a/\xc3\xbc*\x05x-odd\0\0\0\0\0",
        ),
        (made(commands.Channel.Open, out_of_band="out"), b"\0\x14\0\x0a\x03out"),
        (made(commands.Basic.Ack, delivery_tag=None), b"\0\x3c\0\x50\0\0\0\0\0\0\0\0\0"),
        (made(commands.Connection.Secure, challenge=None), b"\0\x0a\0\x14\0\0\0\0"),
        (commands.Connection.UpdateSecret("né", "why"), b"\0\x0a\0\x46\0\0\0\x03n\xc3\xa9\x03why"),
        (commands.Connection.Tune(1, 2, 3), b"\0\x0a\0\x1e\0\x01\0\0\0\x02\0\x03"),
        (
            commands.Connection.Start(0, 9, {"f": 0.5}, "PLAIN", "en_US"),
            b"\0\x0a\0\x0a\0\x09\0\0\0\x0b\x01fd\x3f\xe0\0\0\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US",
        ),
        (
            commands.Queue.Declare(0, "q", False, True, False, True, True, {}),
            b"\0\x32\0\x0a\0\0\x01q\x1a\0\0\0\0",
        ),
        (commands.Basic.Deliver("t", 9, True, "e", "k"), b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x09\x01\x01e\x01k"),
    ],
    ids=lambda value: value.name if isinstance(value, base.Frame) else None,
)
def test_methods_are_encoded_without_pamqps_validation(method: base.Frame, payload: bytes) -> None:
    """Names, tickets and flags that pamqp refuses and RabbitMQ takes are encoded."""
    octets = encode.method_frame(3, method)
    assert octets == b"\x01\0\x03" + len(payload).to_bytes(4, "big") + payload + b"\xce"


@pytest.mark.parametrize(
    "method",
    [
        commands.Basic.Qos(1, 2, True),
        commands.Basic.Publish(0, "exchange", "key", True, True),
        commands.Basic.GetOk(5, True, "exchange", "key", 6),
        commands.Exchange.Bind(0, "d", "s", "k", True, {"S": "x", "V": None, "t": True}),
        commands.Confirm.Select(True),
        commands.Tx.Select(),
    ],
    ids=lambda method: method.name,
)
def test_pamqp_agrees_where_it_validates(method: base.Frame) -> None:
    """Where pamqp encodes at all, the octets are the same."""
    octets = encode.method_frame(9, method)
    assert octets == pamqp_frame.marshal(method, 9)
    assert dict(decode_method(octets)) == dict(method)


@pytest.mark.parametrize(
    "method",
    [
        made(commands.Queue.Purge, queue="q" * 256),
        made(commands.Queue.Purge, ticket=65536),
        commands.Basic.Ack(-1),
        commands.Queue.Bind(0, "q", "e", "k", False, {"k": 2**63}),
    ],
    ids=["long name", "ticket", "tag", "integer"],
)
def test_what_amqp_cannot_express_is_a_value_error(method: base.Frame) -> None:
    """Our own mistake, never a broken frame."""
    with pytest.raises(ValueError, match=r"."):
        encode.method_frame(1, method)


@pytest.mark.parametrize("value", [object(), {"k": object()}])
def test_what_amqp_has_no_type_for_is_a_type_error(value: Any) -> None:
    """Our own mistake, named by its type."""
    with pytest.raises(TypeError):
        encode.method_frame(1, commands.Queue.Bind(0, "q", "e", "k", False, {"k": value}))
