"""Reading the headers property from a content header: what pamqp decodes, and emptiness for what is corrupt."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame, header

from trabbits.wire.headers import MessageHeaders

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
