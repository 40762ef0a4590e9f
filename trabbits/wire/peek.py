"""Reading single fields out of whole method frames, without decoding the rest.

Lives here: functions over a buffer (`bytes` or `bytearray`) in which a whole method frame begins at `start`.
Where `end` is asked for, it is the offset just behind the frame's end octet.  The layout, from `start`::

    +0 type  +1 channel (2)  +3 payload size (4)  +7 class id (2)  +9 method id (2)  +11 arguments ...  0xCE

The scanner has proven type, size and end octet; whatever depends on lengths *inside* the arguments is checked
here where a wrong answer could reach outside the frame.
Must not know: channels, sessions, what is done with the answer.

Source: AMQP 0-9-1 section 4.2 (wire-level format); argument order from the XML specification.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from trabbits.wire.arguments import Arguments, malformed
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS

Octets = bytes | bytearray

_U32: Final = Struct(">I").unpack_from
_TWO_U32: Final = Struct(">II").unpack_from
_SIZE_AND_LENGTH: Final = Struct(">I4xB").unpack_from
_U64: Final = Struct(">Q").unpack_from
_TAG_AND_BITS: Final = Struct(">QB").unpack_from

#: Bits of the octet behind the tag of basic.ack and basic.nack.
MULTIPLE: Final = 1
#: Bit of that octet in basic.nack; basic.reject has its requeue in bit 0.
NACK_REQUEUE: Final = 2
REJECT_REQUEUE: Final = 1


def frame_end(data: Octets, start: int) -> int:
    """The offset just behind the end octet of the frame at `start`, from its size field."""
    return start + 8 + int(_U32(data, start + 3)[0])


# basic.publish: +11 reserved (2), +13 exchange (shortstr), routing key (shortstr), bits, end octet


def exchange_and_key(data: Octets, start: int, end: int) -> tuple[bytes, bytes]:
    """Exchange and routing key of a basic.publish, as octets: RabbitMQ asks for no UTF-8 here.

    Raises `Violation` when the two strings and the octet of bits do not fill the frame exactly, as RabbitMQ does.
    """
    # A frame shorter than its fixed parts makes us read its end octet or the next frame as a length; the
    # comparison with `end` catches each such case because lengths only ever add up.
    try:
        exchange_end = start + 14 + data[start + 13]
        key_end = exchange_end + 1 + data[exchange_end]
    except IndexError:
        raise malformed(data, start, "exchange and routing key do not fit the frame") from None
    if key_end + 2 != end:
        raise malformed(data, start, "exchange and routing key do not fill the frame")
    exchange, key = data[start + 14 : exchange_end], data[exchange_end + 1 : key_end]
    if data.__class__ is bytes:  # the hot case, spared two calls
        return exchange, key  # type: ignore[return-value]  # slices of bytes
    return bytes(exchange), bytes(key)


def route_octets(data: Octets, start: int, end: int) -> bytes:
    """One slice that stands for exchange and routing key of a basic.publish: +13 up to the octet of bits.

    Two sound frames give the same octets exactly when both strings are the same, so this is a key for a cache
    whose misses go through `exchange_and_key`; nothing is checked here.
    """
    octets = data[start + 13 : end - 2]
    return octets if octets.__class__ is bytes else bytes(octets)


def publish_is_mandatory(data: Octets, end: int) -> bool:
    """Bit 0 of the last payload octet of a basic.publish (`end` - 2)."""
    return bool(data[end - 2] & 1)


def publish_is_immediate(data: Octets, end: int) -> bool:
    """Bit 1 of the last payload octet of a basic.publish (`end` - 2); RabbitMQ refuses it with 540."""
    return bool(data[end - 2] & 2)


# basic.deliver: +11 consumer tag (shortstr), delivery tag (8), bits, exchange, routing key


def deliver_consumer_tag(data: Octets, start: int) -> bytes:
    """The consumer tag of a basic.deliver: length at +11, octets from +12.  Raises `Violation` as below."""
    size, length = _SIZE_AND_LENGTH(data, start + 3)
    if length + 16 > size:
        raise _deliver_malformed(data, start)
    return bytes(data[start + 12 : start + 12 + length])


def deliver_delivery_tag_offset(data: Octets, start: int) -> int:
    """Offset in `data` of the 8-octet delivery tag of a basic.deliver: +12 and the length of the consumer tag.

    Raises `Violation` when tag and the octet of bits would not lie inside the frame.
    """
    size, length = _SIZE_AND_LENGTH(data, start + 3)
    if length + 16 > size:
        raise _deliver_malformed(data, start)
    return start + 12 + int(length)


def _deliver_malformed(data: Octets, start: int) -> Violation:
    # Behind the consumer tag there must be room for the tag (8), bits and two strings, empty at least; before it
    # stand the ids (4) and its length.
    return malformed(data, start, "consumer tag and delivery tag do not fit the frame")


# basic.ack, basic.nack, basic.reject, basic.get-ok: +11 delivery tag (8), +19 bits


def delivery_tag(data: Octets, start: int) -> int:
    """The delivery tag at +11 of basic.ack, basic.nack, basic.reject or basic.get-ok.

    Raises `Violation` when the frame is too short to hold it and the octet of bits.
    """
    _check_tag_and_bits(data, start)
    return int(_U64(data, start + 11)[0])


def ack_flags(data: Octets, start: int) -> int:
    """The octet at +19: `MULTIPLE` in basic.ack and basic.nack, `NACK_REQUEUE`, `REJECT_REQUEUE`.

    Raises `Violation` as `delivery_tag` does.
    """
    _check_tag_and_bits(data, start)
    return data[start + 19]


def tag_and_flags(data: Octets, start: int, end: int) -> tuple[int, int]:
    """What `delivery_tag` and `ack_flags` give for a basic.ack, basic.nack or basic.reject, in one step.

    Stricter than those: raises `Violation` unless the frame has the only possible size, 21 octets.
    """
    if end - start != 21:
        raise malformed(data, start, f"expected 9 octets of arguments, got {end - start - 12}")
    tag, flags = _TAG_AND_BITS(data, start + 11)
    return tag, flags


def _check_tag_and_bits(data: Octets, start: int) -> None:
    size = _U32(data, start + 3)[0]
    if size < 13:
        raise malformed(data, start, f"expected at least 9 octets of arguments, got {size - 4}")


# basic.get-ok: +11 delivery tag (8), +19 bits, exchange, routing key, message count (4) - the last field


def get_ok_delivery_tag_offset(start: int) -> int:
    """Offset of the 8-octet delivery tag of a basic.get-ok: always +11."""
    return start + 11


def get_ok_message_count_offset(data: Octets, start: int) -> int:
    """Offset of the 4-octet message count of a basic.get-ok: the last field, so 5 octets before the frame's end.

    Raises `Violation` when the frame is too short to hold all fields.
    """
    size: int = _U32(data, start + 3)[0]
    if size < 19:
        raise malformed(data, start, f"expected at least 15 octets of arguments, got {size - 4}")
    return start + size + 3


def get_ok_message_count(data: Octets, start: int) -> int:
    """Messages left in the queue behind a basic.get-ok."""
    return int(_U32(data, get_ok_message_count_offset(data, start))[0])


# queue.declare-ok: +11 queue (shortstr), message count (4), consumer count (4)


def declare_ok_queue(data: Octets, start: int) -> bytes:
    """The queue's name in a queue.declare-ok: length at +11, octets from +12.  Raises `Violation`."""
    return bytes(data[start + 12 : declare_ok_counts_offset(data, start)])


def declare_ok_counts_offset(data: Octets, start: int) -> int:
    """Offset of the message count (4) of a queue.declare-ok; the consumer count (4) follows.  Raises `Violation`."""
    offset: int = start + 12 + data[start + 11]
    if offset + 9 != frame_end(data, start):
        raise malformed(data, start, "queue name and counts do not fill the frame")
    return offset


def declare_ok_counts(data: Octets, start: int) -> tuple[int, int]:
    """Message count and consumer count of a queue.declare-ok.  Raises `Violation`."""
    messages, consumers = _TWO_U32(data, declare_ok_counts_offset(data, start))
    return messages, consumers


# queue.purge-ok, queue.delete-ok: +11 message count (4)


def message_count(data: Octets, start: int) -> int:
    """The message count at +11 of a queue.purge-ok or queue.delete-ok.  Raises `Violation`."""
    if frame_end(data, start) != start + 16:
        raise malformed(data, start, "expected 4 octets of arguments")
    return int(_U32(data, start + 11)[0])


def nowait_of(data: Octets, start: int, index: int) -> bool:
    """The nowait bit of the method `index`; False for methods without one, known or not.

    Raises `Violation` when the fields before the bit do not fit the frame.
    """
    info = METHODS.get(index)
    if info is None or info.nowait_bit is None:
        return False
    last = frame_end(data, start) - 1
    offset = start + 11 + info.fixed_before_bits
    for _ in range(info.strings_before_bits):
        if offset >= last:
            break
        offset += 1 + data[offset]
    if offset >= last:
        raise malformed(data, start, "its strings do not fit the frame")
    return bool(data[offset] >> info.nowait_bit & 1)


# channel.close, connection.close: +11 reply code (2), +13 reply text (shortstr), class id (2), method id (2)


def reply_of_close(frame: Octets) -> tuple[int, str, int, int]:
    """Reply code, reply text, failing class id and method id of a channel.close or connection.close frame.

    Octets of the text that are not UTF-8 become U+FFFD: RabbitMQ cuts long texts in the middle of a character and
    quotes names that are not UTF-8.  Raises `Violation` when the fields do not fill the frame.
    """
    read = Arguments(frame)
    code, text = read.short("reply_code"), read.short_string("reply_text")
    class_id, method_id = read.short("class_id"), read.short("method_id")
    read.finish()
    return code, text.decode("utf-8", "replace"), class_id, method_id
