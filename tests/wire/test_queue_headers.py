"""Which headers name queues, and content headers with other names in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame, header

from trabbits.wire.queue_headers import with_queues
from trabbits.wire.table import encode_table

Headers = dict[str, Any]


def longer(name: bytes) -> bytes:
    return b"new." + name


def shorter(name: bytes) -> bytes:
    return name.removeprefix(b"new.")


def content_header(headers: Headers | None, **properties: Any) -> bytes:
    """A content header frame on channel 258."""
    found = commands.Basic.Properties(headers=headers, **properties)
    return frame.marshal(header.ContentHeader(0, 5, found), 258)


def with_table(table: bytes) -> bytes:
    """The same with this table and nothing else."""
    payload = b"\0\x3c\0\0" + (5).to_bytes(8, "big") + b"\x20\0" + len(table).to_bytes(4, "big") + table
    return b"\x02\x01\x02" + len(payload).to_bytes(4, "big") + payload + b"\xce"


def renamed(headers: Headers, *, keys: bool = True, deaths: bool = True) -> Headers:
    """What becomes of these headers, after a look at the rest of the frame."""
    octets = with_queues(
        content_header(headers, content_type="text", correlation_id="1"),
        keys=longer if keys else None,
        deaths=longer if deaths else None,
    )
    size, channel, found = frame.unmarshal(octets)
    assert isinstance(found, header.ContentHeader)
    assert (size, channel, found.body_size) == (len(octets), 258, 5)
    assert (found.properties.content_type, found.properties.correlation_id) == ("text", "1")
    return dict(found.properties.headers or {})


def death(queue: Any, exchange: str = "x", keys: Any = ("k",)) -> Headers:
    return {"count": 1, "reason": "expired", "queue": queue, "exchange": exchange, "routing-keys": list(keys)}


CHANGED: list[tuple[Headers, Headers]] = [
    ({"a": 1, "CC": ["q", "r"], "b": "q"}, {"a": 1, "CC": ["new.q", "new.r"], "b": "q"}),
    ({"BCC": ["q"], "CC": []}, {"BCC": ["new.q"], "CC": []}),
    ({"x-death": [death("q"), death("r")]}, {"x-death": [death("new.q"), death("new.r")]}),
    ({"x-death": [death("q", "", ["a", "b"])]}, {"x-death": [death("new.q", "", ["new.a", "new.b"])]}),
    (
        {"x-first-death-queue": "q", "x-first-death-exchange": "q"},
        {"x-first-death-queue": "new.q", "x-first-death-exchange": "q"},
    ),
    (
        {"x-last-death-queue": "q", "x-last-death-reason": "q"},
        {"x-last-death-queue": "new.q", "x-last-death-reason": "q"},
    ),
]


@pytest.mark.parametrize(("headers", "wanted"), CHANGED)
def test_names_are_changed_and_all_else_stays(headers: Headers, wanted: Headers) -> None:
    assert renamed(headers) == wanted


@pytest.mark.parametrize(
    "headers",
    [
        {"CC": "q", "BCC": 5},
        {"CC": [1, True, {"CC": ["q"]}]},
        {"cc": ["q"], "Bcc": ["q"], "XCC": ["q"], "CCA": ["q"]},
        {"x-death": "q", "x-first-death-queue": ["q"], "x-last-death-queue": 7},
        {"x-death": ["q", 1, ["q"]]},
        {"x-death": [death(5, "", [1, True])]},
        {"x-death": [{}]},
        {"x-first-death-exchange": "q", "x-other-death-queue": "q", "queue": "q"},
        {"nested": {"CC": ["q"], "x-death": [death("q")]}},
        {},
    ],
)
def test_what_has_another_name_or_type_stays(headers: Headers) -> None:
    octets = content_header(headers)
    assert with_queues(octets, keys=longer, deaths=longer) is octets


def test_each_kind_can_be_left() -> None:
    headers = {"CC": ["q"], "x-death": [death("q")], "x-first-death-queue": "q"}
    assert renamed(headers, keys=False) == {"CC": ["q"], "x-death": [death("new.q")], "x-first-death-queue": "new.q"}
    assert renamed(headers, deaths=False) == {**headers, "CC": ["new.q"]}
    assert renamed(headers, keys=False, deaths=False) == headers


def test_messages_without_headers_are_the_same_octets() -> None:
    octets = content_header(None, content_type="CCA", reply_to="x-death")
    assert with_queues(octets, keys=longer, deaths=longer) is octets


def test_of_two_headers_of_one_name_the_first_one_counts() -> None:
    """As for RabbitMQ; the second one stays as it is."""
    first, second = encode_table({"CC": ["q"]}), encode_table({"CC": ["r"]})
    wanted = encode_table({"CC": ["new.q"]})
    assert with_queues(with_table(first + second), keys=longer, deaths=longer) == with_table(wanted + second)


#: Values of all types, among them those that decoding and encoding again would change.
ODD = b"".join(
    [
        b"\x01fF\0\0\0\x09" + b"\x01xf\x3f\x80\0\0\x00V",
        b"\x02luL\0\0\0\0\0\0\0\x01",
        b"\x01us\0\x01\x01Du\0\x02\x01DD\x02\0\0\0\x05",
        b"\x01bb\x01\x01BB\x02\x01ii\0\0\0\x05\x01xx\0\0\0\x02\xff\xff\x01VV",
        b"\x01TT" + (1_759_999_999_000_000).to_bytes(8, "big") + b"\x01\xffS\0\0\0\x01\xfe",
    ]
)


def test_octets_that_nobody_means_stay_as_they_are() -> None:
    """Whatever types they have, also within entries that are changed."""
    entry = encode_table({"exchange": ""}) + ODD + encode_table({"queue": "q", "routing-keys": ["k"]})
    entries = b"F" + len(entry).to_bytes(4, "big") + entry + b"I\0\0\0\x05"
    array = b"\x07x-deathA" + len(entries).to_bytes(4, "big") + entries
    octets = with_table(ODD + array + ODD)
    changed = with_queues(octets, keys=longer, deaths=longer)
    assert changed.count(ODD) == 3
    for name in (b"new.q", b"new.k"):
        assert name in changed
    assert with_queues(changed, keys=shorter, deaths=shorter) == octets


@pytest.mark.parametrize(
    "table",
    [
        b"\x02CCA\0\0\0\x09S\0\0\0\x04",
        b"\x02CCA\0\0\0\x03S\0\0",
        b"\x02CCA\0\0\0\x06S\0\0\0\x01q\x01?Z",
        b"\x02CCA\0\0\0\x06S\0\0\0\x01q\x01",
        b"\x02CCA\0\0\0\x06S\0\0\0\x01q\x01dd\x7f\xf0\0\0\0\0\0\0",
        b"\x02CCA",
        b"\xff-deathCCA",
    ],
)
def test_tables_that_cannot_be_read_are_left_to_the_broker(table: bytes) -> None:
    octets = with_table(table)
    assert with_queues(octets, keys=longer, deaths=longer) is octets


@given(st.binary(max_size=60), st.integers(0, 70))
def test_no_octets_are_too_strange(noise: bytes, cut: int) -> None:
    good = encode_table({"CC": ["q"], "x-death": [death("q", "")]})
    octets = with_table(good[:cut] + noise + good[cut:])
    changed = with_queues(octets, keys=longer, deaths=longer)
    assert int.from_bytes(changed[3:7], "big") + 8 == len(changed)


names = st.text(max_size=10).map(lambda name: "new." + name)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
deaths = st.fixed_dictionaries(
    {},
    optional={
        "queue": names | values,
        "exchange": st.sampled_from(["", "x"]) | values,
        "routing-keys": st.lists(names | values, max_size=3) | values,
    },
)
tables = st.dictionaries(st.text(max_size=5), values, max_size=3).flatmap(
    lambda others: st.fixed_dictionaries(
        {key: st.just(value) for key, value in others.items()},
        optional={
            "CC": st.lists(names | values, max_size=3) | values,
            "BCC": st.lists(names, max_size=3),
            "x-death": st.lists(deaths, max_size=3) | values,
            "x-first-death-queue": names | values,
            "x-last-death-queue": names,
        },
    )
)


@given(tables)
def test_names_there_and_back(headers: Headers) -> None:
    octets = with_table(encode_table(headers))
    there = with_queues(octets, keys=longer, deaths=longer)
    assert with_queues(there, keys=shorter, deaths=shorter) == octets
