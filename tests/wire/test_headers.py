"""Reading the headers property from a content header: what pamqp decodes, and emptiness for what is corrupt."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame, header

from trabbits.wire.headers import MessageHeaders, header_key, headers_table, raw_header
from trabbits.wire.table import split_table

NAMES = st.text(min_size=1, max_size=20)
VALUES = st.one_of(st.text(max_size=30), st.booleans(), st.integers(-(2**31), 2**31 - 1), st.lists(st.text(max_size=5)))


def octets_of(headers: dict[str, Any] | None, **properties: Any) -> bytes:
    properties["headers"] = headers
    return frame.marshal(header.ContentHeader(0, 5, commands.Basic.Properties(**properties)), 1)


@given(
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.none() | st.text(min_size=1, max_size=10),
    st.none() | st.text(min_size=1, max_size=10),
    st.binary(max_size=10),
    NAMES,
)
def test_it_has_what_pamqp_decodes(
    headers: dict[str, Any], content_type: str | None, encoding: str | None, before: bytes, other: str
) -> None:
    octets = octets_of(headers, content_type=content_type, content_encoding=encoding, message_id="m")
    decoded: Any = frame.unmarshal(octets)[2]
    expected = decoded.properties.headers or {}
    for name in [*expected, other]:
        # Each time a fresh one: what was looked at before must not matter.
        assert MessageHeaders(before + octets, len(before)).get(name) == expected.get(name)
    assert dict(MessageHeaders(octets)) == expected


def test_without_headers_it_is_empty() -> None:
    assert dict(MessageHeaders(octets_of(None, content_type="text/plain"))) == {}
    assert MessageHeaders(octets_of(None)).get("name", "default") == "default"


@given(st.binary(max_size=40), st.integers(0, 60))
def test_a_corrupt_table_is_no_surprise(junk: bytes, length: int) -> None:
    good = octets_of({"a": "b"})
    table_at = good.index(b"\x01a") - 4
    octets = good[:table_at] + length.to_bytes(4, "big") + junk
    octets = octets[:3] + (len(octets) - 7).to_bytes(4, "big") + octets[7:] + b"\xce"
    found = MessageHeaders(octets)
    found.get("a")
    assert all(isinstance(name, str) for name in dict(found))


RAW: Any = st.one_of(
    VALUES,
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.none(),
    st.binary(max_size=9).map(bytearray),
    st.floats(-1e9, 1e9),
)


@given(st.dictionaries(st.sampled_from("abc"), RAW), st.sampled_from("abc"), st.binary(max_size=10))
def test_a_raw_header_is_its_entry(headers: dict[str, Any], name: str, before: bytes) -> None:
    """With its type: what looks alike decoded, such as 1 and "1", stays apart."""
    frame_octets = octets_of(headers or None, content_type="x" if name == "a" else None)
    at, end = len(before), len(before) + len(frame_octets) - 1
    found = raw_header(before + frame_octets, *headers_table(before + frame_octets, at, end), header_key(name))
    assert found == (entries_of(frame_octets).get(name.encode(), b"") if headers else b"")


def entries_of(octets: bytes) -> dict[bytes, bytes]:
    """The entries of the table in a content header frame whose content type, if any, is one octet."""
    at = 21 + (2 if octets[19] & 0x80 else 0)
    size = int.from_bytes(octets[at : at + 4], "big")
    return dict(split_table(octets[at + 4 : at + 4 + size]))


def test_a_name_inside_a_value_is_no_header() -> None:
    octets = octets_of({"before": "\x01aS\0\0\0\x01x", "a": "y", "after": "\x01aS\0\0\0\x01z"})
    assert raw_header(octets, *headers_table(octets, 0, len(octets) - 1), header_key("a")) == b"S\0\0\0\x01y"
    octets = octets_of({"before": "\x01aS\0\0\0\x01x"})
    assert raw_header(octets, *headers_table(octets, 0, len(octets) - 1), header_key("a")) == b""


def test_of_several_headers_of_one_name_the_first_counts() -> None:
    """As in RabbitMQ's table_lookup; however they are looked at."""
    entries = b"\x01aS\0\0\0\x01x\x01aS\0\0\0\x01y"
    good = octets_of({"a": "x"})
    at = good.index(b"\x01a") - 4
    octets = good[:at] + len(entries).to_bytes(4, "big") + entries
    octets = octets[:3] + (len(octets) - 7).to_bytes(4, "big") + octets[7:] + b"\xce"
    assert MessageHeaders(octets).get("a") == "x"
    assert dict(MessageHeaders(octets)) == {"a": "x"}


A_IS_X = b"\x01aS\0\0\0\x01x"


@pytest.mark.parametrize(
    ("table", "found"),
    [
        pytest.param(b"", b"", id="an empty table: what follows is not looked at"),
        pytest.param(b"\x01bS\0\0\0\x01x", b"", id="no such header: what follows is not looked at"),
        pytest.param(A_IS_X, b"S\0\0\0\x01x", id="the first one"),
        pytest.param(b"\x01bV" + A_IS_X, b"S\0\0\0\x01x", id="the last one"),
        pytest.param(b"\x01aV", b"V", id="a value of no octets"),
        pytest.param(b"\x01aS\0\0\0\x09x", None, id="its value is longer than the table"),
        pytest.param(b"\x01aI\0\0", None, id="its number is cut off"),
        pytest.param(b"\x01aZ", None, id="its type is unknown"),
        pytest.param(b"\x01bZ" + A_IS_X, None, id="the type before it is unknown"),
        pytest.param(b"\x01bS\0\0\0\xff" + A_IS_X, None, id="the value before it is longer than the table"),
        pytest.param(b"\x09b" + A_IS_X, None, id="the name before it covers it and more"),
    ],
)
def test_it_is_read_from_its_own_table(table: bytes, found: bytes | None) -> None:
    """Whatever lengths say, no value comes from what stands behind the table, such as the next message."""
    octets = b"before" + table + A_IS_X * 20
    at, stop = 6, 6 + len(table)
    if found is None:
        with pytest.raises((LookupError, ValueError, struct.error)):
            raw_header(octets, at, stop, header_key("a"))
    else:
        assert raw_header(octets, at, stop, header_key("a")) == found
