"""Reading single properties from a content header, whatever else stands there, and errors for what is corrupt."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame, header

from trabbits.wire.properties import PROPERTY_NAMES, decode_property, property_place, raw_property

TEXTS = st.text(max_size=20)
#: pamqp refuses some values and drops those that are empty, so these are written by hand.
LAYOUT = (
    ("content_type", TEXTS), ("content_encoding", TEXTS), ("headers", st.binary(max_size=20)),
    ("delivery_mode", st.integers(0, 255)), ("priority", st.integers(0, 255)), ("correlation_id", TEXTS),
    ("reply_to", TEXTS), ("expiration", TEXTS), ("message_id", TEXTS), ("timestamp", st.integers(0, 2**64 - 1)),
    ("type", TEXTS), ("user_id", TEXTS), ("app_id", TEXTS), ("reserved", TEXTS),
)  # fmt: skip
PROPERTIES = st.fixed_dictionaries({}, optional=dict(LAYOUT))


def content_header(properties: dict[str, Any], cut: int = 0) -> bytes:
    """A content header frame, its last octets cut off."""
    flags, octets = 0, b""
    for rank, (name, _) in enumerate(LAYOUT):
        if name not in properties:
            continue
        flags |= 0x8000 >> rank
        value = properties[name]
        if isinstance(value, bytes):
            octets += len(value).to_bytes(4, "big") + value
        elif isinstance(value, str):
            octets += bytes((len(value.encode()),)) + value.encode()
        else:
            octets += value.to_bytes(8 if name == "timestamp" else 1, "big")
    payload = b"\0\x3c\0\0" + bytes(8) + flags.to_bytes(2, "big") + octets
    payload = payload[: len(payload) - cut]
    return b"\x02\0\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce"


def found(octets: bytes, name: str, before: int = 0) -> Any:
    return decode_property(name, raw_property(octets, before, len(octets) - 1, property_place(name)))


@given(PROPERTIES, st.binary(max_size=10))
def test_each_is_found_among_the_others(properties: dict[str, Any], before: bytes) -> None:
    octets = before + content_header(properties)
    assert {name: found(octets, name, len(before)) for name in PROPERTY_NAMES} == {
        name: properties.get(name) for name in PROPERTY_NAMES
    }


def test_they_are_what_clients_set() -> None:
    """As pamqp, which most clients in Python are built on, writes them."""
    properties: dict[str, Any] = {
        "content_type": "text/plain", "content_encoding": "gzip", "headers": {"a": 1}, "delivery_mode": 2,
        "priority": 9, "correlation_id": "c", "reply_to": "r", "expiration": "60000", "message_id": "m",
        "user_id": "guest", "app_id": "shop",
    }  # fmt: skip
    octets = frame.marshal(header.ContentHeader(0, 5, commands.Basic.Properties(message_type="order", **properties)), 1)
    expected = {**properties, "type": "order", "timestamp": None}
    assert {name: found(octets, name) for name in PROPERTY_NAMES} == {name: expected[name] for name in PROPERTY_NAMES}


def test_octets_that_are_no_text_become_lone_surrogates() -> None:
    octets = content_header({"type": "x"}).replace(b"\x01x", b"\x01\xff")
    assert found(octets, "type") == "\udcff"


@given(PROPERTIES.filter(bool), st.data())
def test_what_is_cut_off_is_not_read_from_what_follows(properties: dict[str, Any], data: st.DataObject) -> None:
    """Those before it are found; it, and those behind it, cannot be read."""
    size = len(content_header(properties)) - len(content_header({}))
    octets = content_header(properties, data.draw(st.integers(1, max(1, size))))
    followed = octets + content_header(dict.fromkeys(("content_type", "type", "app_id"), "zzz")) * 3
    for name in PROPERTY_NAMES:
        try:
            value = decode_property(name, raw_property(followed, 0, len(octets) - 1, property_place(name)))
        except (LookupError, ValueError, struct.error):
            continue
        assert value == properties.get(name)


def test_a_name_that_is_none_has_no_place() -> None:
    for name in ("headers", "colour", "reserved"):
        with pytest.raises(LookupError):
            property_place(name)
