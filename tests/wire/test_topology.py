"""exchange.declare and the methods about bindings: taken apart and put together again, changed only where asked."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from trabbits.wire import constants as amqp
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import frame
from trabbits.wire.errors import Violation
from trabbits.wire.topology import (
    BINDING_METHODS,
    BindingFields,
    ExchangeDeclareFields,
    build_binding,
    build_exchange_declare,
    parse_binding,
    parse_exchange_declare,
)

NAMES = st.text(max_size=50).map(str.encode)
#: Values that decoding and encoding again would change: a float, a short-short, two keys in no order.
AWKWARD = b"\x01zf\x3f\x80\0\0\x01yb\x05\x01aL\0\0\0\0\0\0\0\x05"
TABLES = st.sampled_from([b"", AWKWARD]).map(lambda table: struct.pack(">I", len(table)) + table)
DECLARE = frame(1, 2, b"\0\x28\0\x0a\0\x07\x01x\x05topic\xfa" + struct.pack(">I", len(AWKWARD)) + AWKWARD)


def short(octets: bytes) -> bytes:
    return bytes((len(octets),)) + octets


def test_a_declare_is_taken_apart() -> None:
    """All fields, the table raw, nowait and unused bits kept."""
    assert parse_exchange_declare(bytearray(DECLARE)) == ExchangeDeclareFields(
        ticket=7, exchange=b"x", type=b"topic", durable=True, internal=True, arguments=AWKWARD, other_bits=0xF0
    )


@pytest.mark.parametrize("index", sorted(BINDING_METHODS))
def test_a_binding_is_taken_apart(index: int) -> None:
    """queue.unbind has no bits, the others have."""
    bits = b"" if index == amqp.QUEUE_UNBIND else b"\x03"
    octets = struct.pack(">IH", index, 7) + b"\x01q\x01x\x01k" + bits + struct.pack(">I", len(AWKWARD)) + AWKWARD
    assert parse_binding(frame(1, 2, octets)) == BindingFields(
        index=index,
        ticket=7,
        destination=b"q",
        source=b"x",
        routing_key=b"k",
        bits=3 if bits else None,
        arguments=AWKWARD,
    )


@given(TABLES, st.integers(0, 65535), NAMES, NAMES, NAMES, st.integers(0, 255))
def test_what_is_not_changed_keeps_its_octets(
    table: bytes, ticket: int, one: bytes, two: bytes, key: bytes, bits: int
) -> None:
    """Parsing and building is the identity, also for odd tickets, spare bits and odd tables."""
    names = short(one) + short(two)
    declare = frame(1, 2, struct.pack(">IH", amqp.EXCHANGE_DECLARE, ticket) + names + bytes((bits,)) + table)
    assert build_exchange_declare(2, parse_exchange_declare(declare)) == declare
    for index in BINDING_METHODS:
        octet = b"" if index == amqp.QUEUE_UNBIND else bytes((bits,))
        binding = frame(1, 2, struct.pack(">IH", index, ticket) + names + short(key) + octet + table)
        assert build_binding(2, parse_binding(binding)) == binding


@pytest.mark.parametrize("field", ["passive", "durable", "auto_delete", "internal"])
def test_one_changed_flag_changes_one_bit(field: str) -> None:
    """pamqp reads the same flags out of what was built."""
    names = ("passive", "durable", "auto_delete", "internal")
    for value in (False, True):
        change: dict[str, Any] = {field: value}
        changed = evolve(parse_exchange_declare(DECLARE), **change)
        octets = build_exchange_declare(2, changed)
        method = decode_method(octets)
        assert {name: method[name] for name in names} == {name: getattr(changed, name) for name in names}
        assert octets[:21] + octets[22:] == DECLARE[:21] + DECLARE[22:]


def test_keys_types_and_tables_are_exchanged() -> None:
    """The frame's size follows."""
    declare = evolve(parse_exchange_declare(DECLARE), type=b"headers", arguments=b"")
    declared = decode_method(build_exchange_declare(9, declare))
    assert isinstance(declared, commands.Exchange.Declare)
    assert (declared.exchange, declared.exchange_type, declared.arguments) == ("x", "headers", {})
    binding = BindingFields(index=amqp.EXCHANGE_BIND, destination=b"to", source=b"from", arguments=AWKWARD)
    bound = decode_method(build_binding(9, evolve(binding, routing_key=b"longer")))
    assert isinstance(bound, commands.Exchange.Bind)
    assert (bound.destination, bound.source, bound.routing_key) == ("to", "from", "longer")
    assert bound.arguments == {"z": 1.0, "y": 5, "a": 5}


def test_names_that_are_too_long_are_value_errors() -> None:
    """Our own mistake, never a broken frame."""
    with pytest.raises(ValueError, match="256 octets"):
        build_exchange_declare(1, ExchangeDeclareFields(type=b"t" * 256))
    with pytest.raises(ValueError, match="256 octets"):
        build_binding(1, BindingFields(index=amqp.QUEUE_UNBIND, bits=None, routing_key=b"k" * 256))


UNBIND = build_binding(2, BindingFields(index=amqp.QUEUE_UNBIND, destination=b"q", bits=None))


@pytest.mark.parametrize(("parse", "octets"), [(parse_exchange_declare, DECLARE), (parse_binding, UNBIND)])
def test_what_cannot_be_read_is_a_violation(parse: Callable[[bytes], object], octets: bytes) -> None:
    """Names that are no UTF-8, other methods, octets too many or too few, corrupt tables."""
    payload, table = octets[7:-1], len(parse(octets).arguments) + 4  # type: ignore[attr-defined]
    for broken in (
        payload.replace(b"\x01x", b"\x01\xff").replace(b"\x01q", b"\x01\xff"),
        b"\0\x32\0\x0a" + payload[4:],
        payload + b"\0",
        payload[:-1],
        payload[:-table] + b"\0\0\0\x03\x01aZ",
    ):
        with pytest.raises(Violation, match="cannot decode") as caught:
            parse(frame(1, 2, broken))
        assert caught.value.code == 501
