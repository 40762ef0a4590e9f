"""What a routing strategy gets of a message's properties: what it looks at, and nothing that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import fields
from attrs.exceptions import FrozenInstanceError
from pamqp import commands, frame, header

from trabbits.interfaces import MessageProperties
from trabbits.session.message_properties import HeadersAlone, LazyMessageProperties
from trabbits.session.named_properties import NamedProperties

EVERYTHING: dict[str, Any] = {
    "headers": {"tenant": "acme", "n": 1}, "content_type": "text/plain", "content_encoding": "gzip", "delivery_mode": 2,
    "priority": 9, "correlation_id": "c", "reply_to": "r", "expiration": "60000", "message_id": "m", "user_id": "guest",
    "app_id": "shop", "message_type": "order",
}  # fmt: skip
NAMES = [each.name for each in fields(MessageProperties)]


def content_header(**properties: Any) -> bytes:
    return frame.marshal(header.ContentHeader(0, 5, commands.Basic.Properties(**properties)), 1)


def shown(properties: MessageProperties) -> dict[str, Any]:
    return {name: getattr(properties, name) for name in NAMES} | {"headers": dict(properties.headers)}


def expected(**properties: Any) -> dict[str, Any]:
    """All of them, as they are by default or such."""
    return shown(MessageProperties(**properties))


def test_it_has_all_properties() -> None:
    octets = content_header(**EVERYTHING)
    wanted = {**EVERYTHING, "type": EVERYTHING["message_type"]}
    del wanted["message_type"]
    assert shown(LazyMessageProperties(octets)) == expected(**wanted)
    assert shown(LazyMessageProperties(b"before" + octets + b"behind", len(b"before"))) == expected(**wanted)


def test_without_properties_there_are_none() -> None:
    assert shown(LazyMessageProperties(content_header())) == expected()
    assert shown(HeadersAlone({"a": 1})) == expected(headers={"a": 1})


@pytest.mark.parametrize("made", [LazyMessageProperties(content_header()), HeadersAlone({}), MessageProperties()])
def test_they_cannot_be_changed(made: MessageProperties) -> None:
    for name in NAMES:
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(made, name, None)
    with pytest.raises(AttributeError):
        made.colour  # type: ignore[attr-defined]  # noqa: B018 - there is none


def test_headers_are_decoded_once() -> None:
    properties = LazyMessageProperties(content_header(**EVERYTHING))
    assert properties.headers is properties.headers
    assert dict(properties.headers)["tenant"] is dict(properties.headers)["tenant"]


#: Properties that are malformed from the type on, but not before.
CUT_OFF = content_header(headers={"tenant": "acme"}, message_id="m", message_type="order", app_id="shop")
CUT_OFF = CUT_OFF.replace(b"\x05order", b"\xffshort")


def test_what_cannot_be_read_is_missing() -> None:
    """And so is what stands behind it.  The broker will say what is wrong with the message."""
    assert shown(LazyMessageProperties(CUT_OFF)) == expected(headers={"tenant": "acme"}, message_id="m")


def test_headers_that_cannot_be_read_are_empty() -> None:
    """With all that stands behind them, where their length is what is wrong."""
    octets = content_header(content_type="text/plain", headers={"tenant": "acme"}, message_id="m")
    table_at = octets.index(b"\x06tenant") - 4
    too_long = octets[:table_at] + b"\0\0\xff\xff" + octets[table_at + 4 :]
    assert shown(LazyMessageProperties(too_long)) == expected(content_type="text/plain")
    unknown = octets.replace(b"\x06tenantS", b"\x06tenantZ")
    assert shown(LazyMessageProperties(unknown)) == expected(content_type="text/plain", message_id="m")


@pytest.mark.parametrize("headers", [(), ("tenant",), ("n", "tenant"), ("missing",)])
@pytest.mark.parametrize("properties", [(), ("type",), ("app_id", "priority"), ("timestamp", "type")])
def test_those_that_are_named_are_there_and_no_others(headers: tuple[str, ...], properties: tuple[str, ...]) -> None:
    octets = b"before" + content_header(**EVERYTHING)
    named = NamedProperties(headers, properties)
    raw = named.raw(octets, len(b"before"), len(octets) - 1)
    every = shown(LazyMessageProperties(octets, len(b"before")))
    assert shown(named.decoded(raw)) == expected(
        headers={name: value for name, value in every["headers"].items() if name in headers},
        **{name: every[name] for name in properties},
    )


def test_of_those_that_are_named_each_is_read_by_itself() -> None:
    named = NamedProperties(("tenant",), ("message_id", "type", "app_id"))
    raw = named.raw(CUT_OFF, 0, len(CUT_OFF) - 1)
    assert shown(named.decoded(raw)) == expected(headers={"tenant": "acme"}, message_id="m")
