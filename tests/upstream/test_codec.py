"""The specification made for txamqp and the codec, against pamqp's own octets."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, decode, frame

from trabbits.upstream.codec import decode_method, encode_method, encode_table
from trabbits.upstream.errors import UnexpectedFrame
from trabbits.upstream.spec import amqp_spec
from trabbits.wire import constants

SPEC = amqp_spec()
METHODS = {method: klass for klass in SPEC.classes for method in klass.methods}


def named(name: str) -> Any:
    return SPEC.parse_method(name)


def test_every_method_of_the_constants_is_there() -> None:
    known = {klass.id << 16 | method.id for method, klass in METHODS.items()}
    assert known == set(commands.INDEX_MAPPING)
    indices = {
        value for name, value in vars(constants).items() if isinstance(value, int) and value > 0xFFFF and name.isupper()
    }
    # Of AMQP 0-8: clients may send it, trabbits itself never does.
    assert indices - known == {constants.ACCESS_REQUEST, constants.ACCESS_REQUEST_OK}


@pytest.mark.parametrize(
    ("request_name", "answers"),
    [
        ("connection.open", ["open-ok"]),
        ("connection.update-secret", ["update-secret-ok"]),
        ("exchange.unbind", ["unbind-ok"]),
        ("basic.get", ["get-ok", "get-empty"]),
        ("confirm.select", ["select-ok"]),
        ("basic.nack", []),
        ("connection.blocked", []),
        ("connection.start-ok", []),
    ],
)
def test_requests_know_their_answers(request_name: str, answers: list[str]) -> None:
    assert [method.name for method in named(request_name).responses] == answers


@pytest.mark.parametrize("command", commands.INDEX_MAPPING.values(), ids=lambda command: command.name)
def test_methods_have_the_same_octets_as_pamqps(command: Any) -> None:
    values = {
        "bit": True,
        "octet": 1,
        "short": 2,
        "long": 3,
        "longlong": 4,
        "shortstr": "short",
        "longstr": "long",
        "table": {"a": 1, "b": {"c": [True, "d"]}},
    }
    whole = command()
    for name in command.attributes():
        kind = command.amqp_type(name)
        # pamqp insists on the specification's constant for reserved arguments.
        reserved = name in (
            "ticket",
            "insist",
            "capabilities",
            "out_of_band",
            "known_hosts",
            "cluster_id",
            "channel_id",
        )
        if not reserved and (kind != "shortstr" or getattr(whole, name) is None):
            setattr(whole, name, values[kind])
    payload = frame.marshal(whole, 0)[7:-1]
    method = decode_method(SPEC, payload)
    assert method.method.klass.name == command.name.split(".")[0].lower()
    assert [field.name for field in method.method.fields] == [name.rstrip("_") for name in command.attributes()]
    arguments = [getattr(whole, name) for name in command.attributes()]
    assert list(method.args) == arguments
    assert encode_method(method.method, method.args) == payload


def test_more_than_eight_bits_and_bits_before_others() -> None:
    declare = named("exchange.declare")
    arguments = [0, "e", "direct", True, False, True, False, True, {}]
    assert list(decode_method(SPEC, encode_method(declare, arguments)).args) == arguments


def test_longstr_takes_text_octets_and_an_amqplain_table() -> None:
    secure_ok = named("connection.secure-ok")
    assert encode_method(secure_ok, ["ü\0"])[4:] == b"\x00\x00\x00\x03\xc3\xbc\x00"
    assert encode_method(secure_ok, [b"\xff\x00"])[4:] == b"\x00\x00\x00\x02\xff\x00"
    assert encode_method(secure_ok, [{"L": "x"}])[4:] == b"\x00\x00\x00\x08\x01LS\x00\x00\x00\x01x"


def test_names_that_pamqp_refuses_but_rabbitmq_takes() -> None:
    opening = named("connection.open")
    assert encode_method(opening, ["v" * 200, "", False])[4:205] == b"\xc8" + b"v" * 200
    assert b"gr\xc3\xbcn!" in encode_method(named("queue.delete"), [0, "grün!", False, False, False])


@pytest.mark.parametrize("value", ["x" * 256, "ü" * 128])
def test_a_shortstr_has_at_most_255_octets(value: str) -> None:
    with pytest.raises(TypeError):
        encode_method(named("connection.open"), [value, "", False])


def test_a_reply_text_that_was_cut_inside_a_character_stays_a_shortstr() -> None:
    text = ("x" + "ü" * 200).encode()[:255]
    payload = b"\x00\x0a\x00\x32\x01\x94\xff" + text + bytes(4)
    code, reply_text, _, _ = decode_method(SPEC, payload).args
    assert code == 404
    assert len(reply_text.encode()) <= 255


VALUES: dict[str, Any] = {
    "bool": True,
    "small": -5,
    "short": 40000,
    "long": -100000,
    "unsigned": 4000000000,
    "longlong": -(2**62),
    "double": 0.1,
    "decimal": Decimal("3.14"),
    "text": "grün",
    "octets": b"\xff\xfe",
    "bytes": bytearray(b"\x00\x01"),
    "time": datetime.datetime(2024, 5, 6, tzinfo=datetime.UTC),
    "none": None,
    "table": {"a": {"b": [1, "two", {"c": b"\xff"}]}},
    "empty": {},
    "array": [],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_table_values_come_back(value: Any) -> None:
    octets = encode_table({"key": value})
    assert decode.field_table(octets) == (len(octets), {"key": value})


@given(st.binary(max_size=64))
def test_only_unexpected_frame_comes_out_of_any_octets(payload: bytes) -> None:
    try:
        decode_method(SPEC, payload)
    except UnexpectedFrame:
        pass


@given(st.sampled_from(sorted(commands.INDEX_MAPPING)), st.binary(max_size=64))
def test_only_unexpected_frame_comes_out_of_any_arguments(index: int, arguments: bytes) -> None:
    try:
        decode_method(SPEC, index.to_bytes(4, "big") + arguments)
    except UnexpectedFrame:
        pass


def test_tables_nested_too_deep_are_refused() -> None:
    table = b""
    for _ in range(5000):
        table = b"\x01aF" + len(table).to_bytes(4, "big") + table
    payload = b"\x00\x0a\x00\x0a\x00\x09" + len(table).to_bytes(4, "big") + table + bytes(8)
    with pytest.raises(UnexpectedFrame):
        decode_method(SPEC, payload)
