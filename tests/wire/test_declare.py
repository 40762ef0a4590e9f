"""queue.declare and basic.consume: taken apart and put together again, changed only where asked."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from trabbits.wire.declare import (
    BasicConsumeFields,
    QueueDeclareFields,
    build_consume,
    build_declare,
    parse_consume,
    parse_declare,
)
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import frame
from trabbits.wire.errors import Violation

NAMES = st.text(max_size=50).map(str.encode)
#: Values that decoding and encoding again would change: a float, a short-short, two keys in no order.
AWKWARD = b"\x01zf\x3f\x80\0\0\x01yb\x05\x01aL\0\0\0\0\0\0\0\x05"
DECLARE = frame(1, 2, b"\0\x32\0\x0a\0\x07\x01q\xf5" + struct.pack(">I", len(AWKWARD)) + AWKWARD)
CONSUME = frame(1, 2, b"\0\x3c\0\x14\0\x07\x01q\x01t\xfa" + struct.pack(">I", len(AWKWARD)) + AWKWARD)


def test_a_declare_is_taken_apart() -> None:
    """All fields, the table raw, unused bits kept."""
    assert parse_declare(DECLARE) == QueueDeclareFields(
        ticket=7, queue=b"q", passive=True, exclusive=True, nowait=True, arguments=AWKWARD, spare_bits=0xE0
    )


def test_a_consume_is_taken_apart() -> None:
    """All fields, the table raw, unused bits kept."""
    assert parse_consume(bytearray(CONSUME)) == BasicConsumeFields(
        ticket=7, queue=b"q", consumer_tag=b"t", no_ack=True, nowait=True, arguments=AWKWARD, spare_bits=0xF0
    )


@given(st.sampled_from([b"", AWKWARD]), st.integers(0, 65535), NAMES, NAMES, st.integers(0, 255))
def test_what_is_not_changed_keeps_its_octets(
    arguments: bytes, ticket: int, queue: bytes, tag: bytes, bits: int
) -> None:
    """Parsing and building is the identity, also for odd tickets, spare bits and odd tables."""
    table = struct.pack(">I", len(arguments)) + arguments
    name, name_of_tag = (bytes((len(octets),)) + octets for octets in (queue, tag))
    declare = frame(1, 2, struct.pack(">IH", 0x32000A, ticket) + name + bytes((bits,)) + table)
    consume = frame(1, 2, struct.pack(">IH", 0x3C0014, ticket) + name + name_of_tag + bytes((bits,)) + table)
    assert build_declare(2, parse_declare(declare)) == declare
    assert build_consume(2, parse_consume(consume)) == consume


@pytest.mark.parametrize("field", ["passive", "durable", "exclusive", "auto_delete", "nowait"])
def test_one_changed_flag_changes_one_bit_of_a_declare(field: str) -> None:
    """pamqp reads the same flags out of what was built."""
    for value in (False, True):
        change: dict[str, Any] = {field: value}
        changed = evolve(parse_declare(DECLARE), **change)
        octets = build_declare(2, changed)
        method = decode_method(octets)
        assert {name: method[name] for name in ("passive", "durable", "exclusive", "auto_delete", "nowait")} == {
            name: getattr(changed, name) for name in ("passive", "durable", "exclusive", "auto_delete", "nowait")
        }
        assert octets[:15] + octets[16:] == DECLARE[:15] + DECLARE[16:]


@pytest.mark.parametrize("field", ["no_local", "no_ack", "exclusive", "nowait"])
def test_one_changed_flag_changes_one_bit_of_a_consume(field: str) -> None:
    """pamqp reads the same flags out of what was built."""
    for value in (False, True):
        change: dict[str, Any] = {field: value}
        changed = evolve(parse_consume(CONSUME), **change)
        octets = build_consume(2, changed)
        method = decode_method(octets)
        assert {name: method[name] for name in ("no_local", "no_ack", "exclusive", "nowait")} == {
            name: getattr(changed, name) for name in ("no_local", "no_ack", "exclusive", "nowait")
        }
        assert octets[:17] + octets[18:] == CONSUME[:17] + CONSUME[18:]


def test_names_and_tables_are_exchanged() -> None:
    """The frame's size follows."""
    declared = decode_method(build_declare(9, evolve(parse_declare(DECLARE), queue=b"longer", arguments=b"")))
    assert isinstance(declared, commands.Queue.Declare)
    assert (declared.queue, declared.arguments, declared.ticket) == ("longer", {}, 7)
    consumed = decode_method(build_consume(9, evolve(parse_consume(CONSUME), consumer_tag=b"trabbits.1")))
    assert isinstance(consumed, commands.Basic.Consume)
    assert (consumed.queue, consumed.consumer_tag, consumed.arguments) == (
        "q",
        "trabbits.1",
        {"z": 1.0, "y": 5, "a": 5},
    )


def test_defaults_make_the_plainest_frames() -> None:
    """For requests of our own."""
    assert (
        build_declare(1, QueueDeclareFields(queue=b"q")) == b"\x01\0\x01\0\0\0\x0d\0\x32\0\x0a\0\0\x01q\0\0\0\0\0\xce"
    )
    assert (
        build_consume(1, BasicConsumeFields(queue=b"q")) == b"\x01\0\x01\0\0\0\x0e\0\x3c\0\x14\0\0\x01q\0\0\0\0\0\0\xce"
    )


def test_names_that_are_too_long_are_value_errors() -> None:
    """Our own mistake, never a broken frame."""
    with pytest.raises(ValueError, match="256 octets"):
        build_declare(1, QueueDeclareFields(queue=b"q" * 256))
    with pytest.raises(ValueError, match="256 octets"):
        build_consume(1, BasicConsumeFields(consumer_tag=b"q" * 256))


@pytest.mark.parametrize(
    ("parse", "payload", "text"),
    [
        (parse_declare, b"\0\x3c\0\x14\0\0\0\0\0\0\0\0\0", "cannot decode basic.consume: it is another method"),
        (parse_consume, b"\0\x32\0\x0a\0\0\0\0\0\0\0\0", "cannot decode queue.declare: it is another method"),
        (parse_declare, b"\0\x32\0\x0a\0\0\x02\xff\xfe\0\0\0\0\0", "queue is not UTF-8"),
        (parse_consume, b"\0\x3c\0\x14\0\0\0\x02\xff\xfe\0\0\0\0\0", "consumer_tag is not UTF-8"),
        (parse_declare, b"\0\x32\0\x0a\0\0\x01q\0\0\0\0\x03\x01aZ", "cannot decode a field table: unknown type octet"),
        (parse_declare, b"\0\x32\0\x0a\0\0\x01q\0\0\0\0\x00x", "1 octets too many"),
        (parse_consume, b"\0\x3c\0\x14\0\0\0\0\0\0\0\0\x05", "arguments needs 5 octets, 0 are left"),
    ],
)
def test_what_cannot_be_read_is_a_violation(parse: type, payload: bytes, text: str) -> None:
    """It names the method and the reason."""
    with pytest.raises(Violation) as caught:
        parse(frame(1, 2, payload))
    violation = caught.value
    assert text in violation.text
    assert (violation.code, violation.channel) == (501, 2)
    assert (violation.class_id, violation.method_id) == struct.unpack(">HH", payload[:4])


@pytest.mark.parametrize(("parse", "octets"), [(parse_declare, DECLARE), (parse_consume, CONSUME)])
def test_any_truncation_is_a_violation(parse: type, octets: bytes) -> None:
    """Cut off, or cut and framed anew."""
    for keep in range(len(octets)):
        with pytest.raises(Violation):
            parse(octets[:keep])
    for keep in range(len(octets) - 8):
        with pytest.raises(Violation):
            parse(frame(1, 2, octets[7 : 7 + keep]))


@given(st.sampled_from([b"\0\x32\0\x0a", b"\0\x3c\0\x14"]), st.binary(max_size=80))
def test_random_octets_are_fields_or_a_violation(index: bytes, arguments: bytes) -> None:
    """Only `Violation` gets out; what is read is built again octet by octet."""
    octets = frame(1, 2, index + arguments)
    try:
        if index == b"\0\x32\0\x0a":
            built = build_declare(2, parse_declare(octets))
        else:
            built = build_consume(2, parse_consume(octets))
    except Violation:
        return
    assert built == octets
