"""Single fields out of frames, at any place in a buffer, and never from outside the frame."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from trabbits.wire import peek
from trabbits.wire.encode import (
    ack_frame,
    channel_close,
    connection_close,
    frame,
    method_frame,
    nack_frame,
    reject_frame,
)
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS, name_of

ACK, NACK, REJECT, PUBLISH, DELIVER, GET_OK = 0x3C0050, 0x3C0078, 0x3C005A, 0x3C0028, 0x3C003C, 0x3C0047
DECLARE_OK, PURGE_OK, DELETE_OK, CHANNEL_CLOSE, CONNECTION_CLOSE = 0x32000B, 0x32001F, 0x320029, 0x140028, 0x0A0032

SHORT = st.binary(max_size=255)
TAG = st.integers(0, 2**64 - 1)
#: What stands before and behind the frame in the buffer, and of which type the buffer is.
BEFORE = st.binary(max_size=30)
BEHIND = st.binary(max_size=30)
BUFFER = st.sampled_from([bytes, bytearray])


def short(octets: bytes) -> bytes:
    """A short string."""
    return bytes((len(octets),)) + octets


def raw(index: int, arguments: bytes) -> bytes:
    """A method frame on channel 3."""
    return frame(1, 3, struct.pack(">I", index) + arguments)


def publish(exchange: bytes, key: bytes, bits: int = 0) -> bytes:
    """A basic.publish."""
    return raw(PUBLISH, b"\0\0" + short(exchange) + short(key) + bytes((bits,)))


def deliver(consumer_tag: bytes, tag: int, exchange: bytes = b"", key: bytes = b"") -> bytes:
    """A basic.deliver."""
    return raw(DELIVER, short(consumer_tag) + struct.pack(">QB", tag, 1) + short(exchange) + short(key))


@given(SHORT, SHORT, st.integers(0, 255), BEFORE, BEHIND, BUFFER)
def test_a_publish_shows_exchange_key_and_bits(
    exchange: bytes, key: bytes, bits: int, before: bytes, behind: bytes, buffer: Callable[[bytes], bytes]
) -> None:
    """Whatever the octets of the strings and wherever the frame stands."""
    octets = publish(exchange, key, bits)
    data, start, end = buffer(before + octets + behind), len(before), len(before + octets)
    found = peek.exchange_and_key(data, start, end)
    assert found == (exchange, key)
    assert [type(part) for part in found] == [bytes, bytes]
    assert peek.route_octets(data, start, end) == short(exchange) + short(key)
    assert type(peek.route_octets(data, start, end)) is bytes
    assert peek.publish_is_mandatory(data, end) is bool(bits & 1)
    assert peek.publish_is_immediate(data, end) is bool(bits & 2)


@pytest.mark.parametrize(
    "arguments",
    [
        b"",
        b"\0\0",
        b"\0\0\0",
        b"\0\0\0\0",
        b"\0\0\x01e\x01k",
        b"\0\0\x01e\x01k\0\0",
        b"\0\0\x05e\x01k\0",
        b"\0\0\x01e\x05k\0",
        b"\0\0\xffe\x01k\0",
        b"\0\0\x01e\xffk\0",
    ],
)
@pytest.mark.parametrize("behind", [b"", b"\x03" * 20, b"\x01\0\x01\0\0\0\x04\0\x14\0\x29\xce" * 50])
def test_a_publish_whose_strings_do_not_fill_it_is_a_violation(arguments: bytes, behind: bytes) -> None:
    """A length that lies is found, also where more frames stand behind."""
    octets = raw(PUBLISH, arguments)
    with pytest.raises(Violation, match=r"cannot decode basic\.publish") as caught:
        peek.exchange_and_key(octets + behind, 0, len(octets))
    violation = caught.value
    assert (violation.code, violation.channel, violation.class_id, violation.method_id) == (501, 3, 60, 40)


@given(SHORT, TAG, SHORT, BEFORE, BEHIND, BUFFER)
def test_a_deliver_shows_consumer_tag_and_tag_offset(
    consumer_tag: bytes, tag: int, key: bytes, before: bytes, behind: bytes, buffer: Callable[[bytes], bytes]
) -> None:
    """The offset is where the 8 octets of the delivery tag stand."""
    data, start = buffer(before + deliver(consumer_tag, tag, b"ex", key) + behind), len(before)
    assert peek.deliver_consumer_tag(data, start) == consumer_tag
    assert type(peek.deliver_consumer_tag(data, start)) is bytes
    offset = peek.deliver_delivery_tag_offset(data, start)
    assert data[offset : offset + 8] == struct.pack(">Q", tag)


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        (b"", False),
        (b"\x01t" + b"\0" * 8, False),
        (b"\x01t" + b"\0" * 10, False),
        (b"\x01t" + b"\0" * 11, True),
        (b"\x02t" + b"\0" * 11, False),
        (b"\xfft" + b"\0" * 11, False),
    ],
)
def test_a_deliver_whose_tag_is_outside_is_a_violation(arguments: bytes, fits: bool) -> None:
    """A patched tag must never land in the next frame."""
    data = raw(DELIVER, arguments) + b"\0" * 300
    if fits:
        assert peek.deliver_delivery_tag_offset(data, 0) == 13
        return
    for look in (peek.deliver_delivery_tag_offset, peek.deliver_consumer_tag):
        with pytest.raises(Violation, match=r"cannot decode basic\.deliver"):
            look(data, 0)


@given(TAG, st.booleans(), st.booleans(), BEFORE, BEHIND, BUFFER)
def test_acks_show_tag_and_flags(
    tag: int, multiple: bool, requeue: bool, before: bytes, behind: bytes, buffer: Callable[[bytes], bytes]
) -> None:
    """basic.ack, basic.nack and basic.reject share their layout."""
    for octets, flags in (
        (ack_frame(1, tag, multiple), multiple * peek.MULTIPLE),
        (nack_frame(1, tag, multiple, requeue), multiple * peek.MULTIPLE | requeue * peek.NACK_REQUEUE),
        (reject_frame(1, tag, requeue), requeue * peek.REJECT_REQUEUE),
    ):
        data, start = buffer(before + octets + behind), len(before)
        assert peek.delivery_tag(data, start) == tag
        assert peek.ack_flags(data, start) == flags
        assert peek.tag_and_flags(data, start, start + 21) == (tag, flags)


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_a_short_ack_is_a_violation(size: int) -> None:
    """Also where more octets stand behind the frame."""
    octets = raw(ACK, b"\0" * size)
    for data in (octets, octets + b"\0" * 50):
        with pytest.raises(
            Violation, match=rf"cannot decode basic\.ack: expected at least 9 octets of arguments, got {size}"
        ):
            peek.delivery_tag(data, 0)
        with pytest.raises(Violation, match="expected at least 9"):
            peek.ack_flags(data, 0)
        with pytest.raises(Violation, match=f"expected 9 octets of arguments, got {size}"):
            peek.tag_and_flags(data, 0, len(octets))


def test_a_long_ack_is_a_violation_where_the_end_is_known() -> None:
    """RabbitMQ refuses it, too."""
    octets = raw(ACK, b"\0" * 10)
    with pytest.raises(Violation, match="expected 9 octets of arguments, got 10"):
        peek.tag_and_flags(octets, 0, len(octets))


@given(TAG, SHORT, SHORT, st.integers(0, 2**32 - 1), BEFORE, BEHIND)
def test_a_get_ok_shows_tag_and_count(
    tag: int, exchange: bytes, key: bytes, count: int, before: bytes, behind: bytes
) -> None:
    """The tag is the first field, the count the last."""
    octets = raw(GET_OK, struct.pack(">QB", tag, 0) + short(exchange) + short(key) + struct.pack(">I", count))
    data, start = before + octets + behind, len(before)
    assert peek.delivery_tag(data, start) == tag
    assert peek.get_ok_delivery_tag_offset(start) == start + 11
    assert peek.get_ok_message_count_offset(data, start) == start + len(octets) - 5
    assert peek.get_ok_message_count(data, start) == count


@pytest.mark.parametrize("size", [0, 9, 14])
def test_a_short_get_ok_is_a_violation(size: int) -> None:
    """The count would otherwise lie over the tag."""
    with pytest.raises(
        Violation, match=rf"cannot decode basic\.get-ok: expected at least 15 octets of arguments, got {size}"
    ):
        peek.get_ok_message_count(raw(GET_OK, b"\0" * size), 0)


@given(SHORT, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), BEFORE, BEHIND)
def test_a_declare_ok_shows_queue_and_counts(
    queue: bytes, messages: int, consumers: int, before: bytes, behind: bytes
) -> None:
    """Name, messages, consumers."""
    octets = raw(DECLARE_OK, short(queue) + struct.pack(">II", messages, consumers))
    data, start = before + octets + behind, len(before)
    assert peek.declare_ok_queue(data, start) == queue
    assert peek.declare_ok_counts(data, start) == (messages, consumers)
    assert peek.declare_ok_counts_offset(data, start) == start + len(octets) - 9


@pytest.mark.parametrize("arguments", [b"", b"\x01", b"\x01q" + b"\0" * 7, b"\x01q" + b"\0" * 9, b"\xffq" + b"\0" * 8])
def test_a_declare_ok_that_is_not_filled_is_a_violation(arguments: bytes) -> None:
    """Name and counts must fill the frame."""
    for look in (peek.declare_ok_queue, peek.declare_ok_counts):
        with pytest.raises(Violation, match=r"cannot decode queue\.declare-ok"):
            look(raw(DECLARE_OK, arguments) + b"\0" * 300, 0)


@pytest.mark.parametrize("index", [PURGE_OK, DELETE_OK])
def test_purge_ok_and_delete_ok_show_their_count(index: int) -> None:
    """Four octets and nothing else."""
    assert peek.message_count(b"xx" + raw(index, b"\0\x01\0\x02") + b"yy", 2) == 65538
    for arguments in (b"", b"\0\0\0", b"\0\0\0\0\0"):
        with pytest.raises(Violation, match=r"cannot decode queue\.\w+-ok: expected 4 octets"):
            peek.message_count(raw(index, arguments), 0)


NOWAIT = [
    commands.Exchange.Declare(0, "e", "topic", arguments={"x": 1}),
    commands.Exchange.Delete(0, "e"),
    commands.Exchange.Bind(0, "d", "s", "k", arguments={"x": 1}),
    commands.Exchange.Unbind(0, "d", "s", "k"),
    commands.Queue.Declare(0, "q", arguments={"x": 1}),
    commands.Queue.Bind(0, "q", "e", "k"),
    commands.Queue.Purge(0, "q"),
    commands.Queue.Delete(0, "q"),
    commands.Basic.Consume(0, "q", "t", arguments={"x": 1}),
    commands.Basic.Cancel("t"),
    commands.Confirm.Select(),
]


@pytest.mark.parametrize("method", NOWAIT, ids=lambda method: method.name)
def test_nowait_is_found_among_the_other_bits(method: commands.Queue.Declare) -> None:
    """Exactly its bit counts, whatever the others are."""
    bits = [field for field, kind in METHODS[method.index].fields if kind == "bit"]
    for nowait in (False, True):
        for others in (False, True):
            for field in bits:
                setattr(method, field, others)
            method.nowait = nowait
            octets = method_frame(1, method)
            assert peek.nowait_of(b"zz" + octets + b"\xff" * 9, 2, method.index) is nowait


def test_every_method_with_nowait_is_tried_above() -> None:
    """The list is complete."""
    assert {method.index for method in NOWAIT} == {
        index for index, info in METHODS.items() if info.nowait_bit is not None
    }


@pytest.mark.parametrize("index", [0x3C000A, 0x320032, 0x5A000A, 0x990001])
def test_methods_without_the_bit_wait(index: int) -> None:
    """basic.qos, queue.unbind, tx.select; an unknown one."""
    assert peek.nowait_of(raw(index, b"\xff" * 9), 0, index) is False


@pytest.mark.parametrize(
    ("index", "arguments"),
    [
        (0x55000A, b""),
        (0x3C001E, b""),
        (0x3C001E, b"\x01t"),
        (0x3C001E, b"\x09t\x01"),
        (0x32000A, b"\0"),
        (0x28001E, b"\0\0\x01d\x01s\xff"),
        (0x28001E, b"\0\0\xffd\x01s\x01k\x01"),
    ],
)
def test_nowait_outside_the_frame_is_a_violation(index: int, arguments: bytes) -> None:
    """The bit is never read from the end octet or the next frame."""
    for behind in (b"", b"\xff" * 600):
        with pytest.raises(Violation, match="its strings do not fit the frame"):
            peek.nowait_of(raw(index, arguments) + behind, 0, index)


@given(st.integers(0, 65535), st.binary(max_size=255), st.integers(0, 65535), st.integers(0, 65535))
def test_a_close_shows_its_reply(code: int, text: bytes, class_id: int, method_id: int) -> None:
    """A text that is not UTF-8, as RabbitMQ sends it, is shown as well as can be."""
    arguments = struct.pack(">H", code) + short(text) + struct.pack(">HH", class_id, method_id)
    for index in (CHANNEL_CLOSE, CONNECTION_CLOSE):
        assert peek.reply_of_close(raw(index, arguments)) == (
            code,
            text.decode("utf-8", "replace"),
            class_id,
            method_id,
        )


def test_closes_that_we_build_show_their_reply() -> None:
    """Both kinds."""
    assert peek.reply_of_close(channel_close(1, 404, "no queue", 50, 10)) == (404, "no queue", 50, 10)
    assert peek.reply_of_close(bytearray(connection_close(320, "ü"))) == (320, "ü", 0, 0)


@pytest.mark.parametrize(
    "arguments", [b"", b"\x01", b"\x01\x40\0\0\0\0", b"\x01\x40\0\0\0\0\0\0", b"\x01\x40\xff\0\0\0\0"]
)
def test_a_close_that_is_not_filled_is_a_violation(arguments: bytes) -> None:
    """Too short, too long, or a text that reaches outside."""
    with pytest.raises(Violation, match=r"cannot decode channel\.close"):
        peek.reply_of_close(raw(CHANNEL_CLOSE, arguments))


Look = Callable[[bytes, int, int], object]


def nowait_of(index: int) -> Look:
    """`peek.nowait_of` with the arguments of the others."""
    return lambda data, start, end: peek.nowait_of(data, start, index)


LOOKS: list[tuple[int, Look]] = [
    (PUBLISH, peek.exchange_and_key),
    (PUBLISH, peek.route_octets),
    (PUBLISH, lambda data, start, end: peek.publish_is_mandatory(data, end)),
    (DELIVER, lambda data, start, end: peek.deliver_consumer_tag(data, start)),
    (DELIVER, lambda data, start, end: peek.deliver_delivery_tag_offset(data, start) - start),
    (ACK, lambda data, start, end: peek.delivery_tag(data, start)),
    (NACK, lambda data, start, end: peek.ack_flags(data, start)),
    (REJECT, peek.tag_and_flags),
    (GET_OK, lambda data, start, end: peek.delivery_tag(data, start)),
    (GET_OK, lambda data, start, end: peek.get_ok_message_count(data, start)),
    (DECLARE_OK, lambda data, start, end: peek.declare_ok_queue(data, start)),
    (DECLARE_OK, lambda data, start, end: peek.declare_ok_counts(data, start)),
    (PURGE_OK, lambda data, start, end: peek.message_count(data, start)),
    (CHANNEL_CLOSE, lambda data, start, end: peek.reply_of_close(data[start:end])),
    *((method.index, nowait_of(method.index)) for method in NOWAIT),
]


@settings(max_examples=1000)
@given(st.sampled_from(LOOKS), st.binary(max_size=40), BEFORE, BEHIND)
def test_random_arguments_give_an_answer_or_a_violation(
    looked: tuple[int, Look], arguments: bytes, before: bytes, behind: bytes
) -> None:
    """Only `Violation` gets out, and what stands around the frame changes no answer."""
    index, look = looked
    octets = raw(index, arguments)

    def answer(data: bytes, start: int) -> object:
        try:
            return look(data, start, start + len(octets))
        except Violation as violation:
            return f"{violation.code} {name_of(violation.class_id << 16 | violation.method_id)}"

    alone = answer(octets, 0)
    assert answer(before + octets + behind, len(before)) == alone
    assert not isinstance(alone, str) or alone == f"501 {name_of(index)}"
