"""Decoding whole method frames: every field of every method, and everything that must be refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from trabbits.wire.arguments import MALFORMED
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import frame, method_frame
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS, MethodInfo
from trabbits.wire.table import encode_table

INTEGERS = {"octet": ">B", "short": ">H", "long": ">I", "longlong": ">Q"}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TABLES = st.dictionaries(st.text(max_size=20), VALUES, max_size=5)
OF_SOME_METHOD = st.builds(
    lambda index, rest: struct.pack(">I", index) + rest, st.sampled_from(list(METHODS)), st.binary(max_size=200)
)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """The payload of a sound frame of any method."""
    info: MethodInfo = draw(st.sampled_from(list(METHODS.values())))
    parts = [struct.pack(">I", info.index)]
    bits = [field for field, kind in info.fields if kind == "bit"]
    for field, kind in info.fields:
        if kind == "bit":
            if field == bits[0]:
                parts.append(bytes((draw(st.integers(0, (1 << len(bits)) - 1)),)))
        elif kind == "shortstr":
            string = draw(st.text(max_size=20)).encode()
            parts += (bytes((len(string),)), string)
        elif kind in ("longstr", "table"):
            octets = encode_table(draw(TABLES)) if kind == "table" else draw(st.binary(max_size=20))
            parts += (struct.pack(">I", len(octets)), octets)
        else:
            form = INTEGERS[kind]
            parts.append(struct.pack(form, draw(st.integers(0, 256 ** struct.calcsize(form) - 1))))
    return b"".join(parts)


@given(payloads(), st.integers(0, 0xFFFF))
def test_any_sound_frame_is_decoded_and_encoded_again(payload: bytes, channel: int) -> None:
    """With tables of our own types the round trip is the identity, bits and strings included."""
    octets = frame(1, channel, payload)
    method = decode_method(octets)
    assert method.index == int.from_bytes(payload[:4], "big")
    assert method_frame(channel, method) == octets


@given(payloads(), st.data())
def test_any_truncation_is_a_violation(payload: bytes, data: st.DataObject) -> None:
    """Fewer octets never decode, neither with the frame cut off nor with a shorter payload framed anew."""
    keep = data.draw(st.integers(0, len(payload) - 1))
    for octets in (frame(1, 7, payload[:keep]), frame(1, 7, payload)[: keep + 7]):
        with pytest.raises(Violation) as caught:
            decode_method(octets)
        assert caught.value.code == MALFORMED


@given(payloads(), st.binary(min_size=1, max_size=20))
def test_trailing_octets_are_a_violation(payload: bytes, junk: bytes) -> None:
    """A method fills its frame exactly."""
    with pytest.raises(Violation) as caught:
        decode_method(frame(1, 7, payload + junk))
    violation = caught.value
    assert (violation.channel, violation.class_id, violation.method_id) == (7, *struct.unpack(">HH", payload[:4]))


@given(st.binary(max_size=200) | OF_SOME_METHOD, st.booleans())
def test_random_octets_give_a_method_or_a_violation(octets: bytes, framed: bool) -> None:
    """Only `Violation` gets out; what is decoded can be encoded again."""
    try:
        method = decode_method(frame(1, 1, octets) if framed else octets)
    except Violation:
        return
    method_frame(1, method)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: Any) -> None:
    """The frame may be bytes, bytearray or memoryview; the method keeps no hold on it."""
    octets = method_frame(2, commands.Queue.Declare(0, "q", durable=True, arguments={"x-max-length": 5}))
    method = decode_method(kind(octets))
    assert isinstance(method, commands.Queue.Declare)
    assert (method.queue, method.durable, method.exclusive, method.arguments) == ("q", True, False, {"x-max-length": 5})


ACK = b"\0\x3c\0\x50\0\0\0\0\0\0\0\x01\0"
SOUND = frame(1, 1, ACK)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "cannot decode a method frame: 0 octets are no whole method frame"),
        (SOUND[:10], "10 octets are no whole"),
        (SOUND[:11], "cannot decode basic.ack: 11 octets are no whole"),
        (b"\x02" + SOUND[1:], "type, size or end octet is wrong"),
        (SOUND[:-1] + b"\xcd", "type, size or end octet is wrong"),
        (SOUND + SOUND, "type, size or end octet is wrong"),
        (frame(1, 1, ACK[:-1]), "cannot decode basic.ack: multiple needs 1 octets, 0 are left"),
        (frame(1, 1, ACK[:-2]), "delivery_tag needs 8 octets, 7 are left"),
        (frame(1, 1, ACK + b"x"), "1 octets too many"),
        (frame(1, 1, b"\0\x32\0\x1e\0\0\x02\xff\xfe\0"), "cannot decode queue.purge: queue is not UTF-8"),
        (frame(1, 1, b"\0\x32\0\x1e\0\0\x05ab\0"), "queue needs 5 octets, 3 are left"),
        (frame(1, 1, b"\0\x0a\0\x14\0\0\0\x05ab"), "challenge needs 5 octets, 2 are left"),
        (frame(1, 1, b"\0\x0a\0\x0b\xff\xff\xff\xff"), "client_properties needs 4294967295 octets, 0 are left"),
        (frame(1, 1, b"\0\x0a\0\x0b\0\0\0\x03\x01aZ"), "client_properties: cannot decode a field table: unknown type"),
        (frame(1, 1, b"\0\x0a\0\x0b\0\0\0\x03\x01\xffV\0\0\0\0\0\0"), "client_properties: 'utf-8' codec"),
        (frame(1, 1, b"\0\x0a\0\x0b\0\0\0\x0b\x01tT" + b"\xff" * 8 + b"\0" * 6), "client_properties: "),
    ],
)
def test_what_cannot_be_decoded_is_named(octets: bytes, text: str) -> None:
    """The text says which method and field, and why."""
    with pytest.raises(Violation) as caught:
        decode_method(octets)
    assert caught.value.code == MALFORMED == 501
    assert text in caught.value.text


@pytest.mark.parametrize("index", [0x003C0063, 0x00990001, 0])
def test_an_unknown_method_is_not_implemented(index: int) -> None:
    """RabbitMQ crashes its reader and resets the connection here; 540 is the specification's word for it."""
    with pytest.raises(Violation) as caught:
        decode_method(frame(1, 4, struct.pack(">I", index)))
    violation = caught.value
    assert (violation.code, violation.channel) == (540, 4)
    assert (violation.class_id, violation.method_id) == (index >> 16, index & 0xFFFF)
    assert violation.text == f"unknown method: class {index >> 16} method {index & 0xFFFF}"


@pytest.mark.parametrize(
    "payload",
    [
        b"\0\x3c\0\x28\0\0\x02\xff\xfe\x02\xc3(\x01",
        b"\0\x3c\0\x32\x01\x38\x02\xff\xfe\x01\x80\x01\xff",
        b"\0\x3c\0\x3c\x01\xff\0\0\0\0\0\0\0\x01\x01\x01\xfe\x01\xfd",
        b"\0\x3c\0\x47\0\0\0\0\0\0\0\x01\0\x01\xfe\x01\xfd\0\0\0\x05",
        b"\0\x14\0\x28\x01\x94\x05a\xff\xfeb\xc3\0\x3c\0\x28",
    ],
    ids=["publish", "return", "deliver", "get-ok", "channel.close"],
)
def test_strings_that_are_no_utf8_survive(payload: bytes) -> None:
    """RabbitMQ takes and sends such routing keys and reply texts: they come out as they went in."""
    assert method_frame(1, decode_method(frame(1, 1, payload))) == frame(1, 1, payload)


def test_long_strings_that_are_no_utf8_are_bytes() -> None:
    """A SASL response may be any octets."""
    octets = frame(1, 0, b"\0\x0a\0\x15\0\0\0\x03a\xff\0")
    method = decode_method(octets)
    assert dict(method) == {"response": b"a\xff\0"}
    assert method_frame(0, method) == octets


def test_a_table_string_that_is_no_utf8_survives() -> None:
    """pamqp decodes it to bytes, which it cannot encode again; we can."""
    octets = frame(1, 0, b"\0\x0a\0\x0b\0\0\0\x08\x01kS\0\0\0\x01\xff\x05PLAIN\0\0\0\0\0")
    assert method_frame(0, decode_method(octets)) == octets


def test_an_array_is_not_read_past_its_end() -> None:
    """pamqp alone would let the last item of an array reach over the array's end."""
    table = b"\x01aA\0\0\0\x02I\0\0\0\x05"
    with pytest.raises(Violation, match="needs 4 octets, 1 are left"):
        decode_method(frame(1, 0, b"\0\x0a\0\x0b" + struct.pack(">I", len(table)) + table + b"\x05PLAIN\0\0\0\0\0"))
