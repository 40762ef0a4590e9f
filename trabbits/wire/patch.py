"""In-place patches of fields inside whole method frames.

Lives here: writing numbers and bits of a fixed size into a `bytearray`, at offsets that `peek` found.
Must not know: where an offset comes from or whether the new value makes sense.

No function changes a length, so nothing behind the field moves.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

_U16: Final = Struct(">H").pack_into
_U32: Final = Struct(">I").pack_into
_TWO_U32: Final = Struct(">II").pack_into
_U64: Final = Struct(">Q").pack_into

#: A count that does not fit its 4 octets is reported as this, the largest one.
MAX_COUNT: Final = 0xFFFFFFFF


def set_channel(buffer: bytearray, start: int, channel: int) -> None:
    """Set the channel number (2 octets at +1) of the frame that begins at `start`."""
    _U16(buffer, start + 1, channel)


def set_delivery_tag(buffer: bytearray, offset: int, tag: int) -> None:
    """Write an 8-octet delivery tag at `offset`."""
    _U64(buffer, offset, tag)


def set_message_count(buffer: bytearray, offset: int, count: int) -> None:
    """Write a 4-octet message count at `offset`: basic.get-ok, queue.purge-ok, queue.delete-ok."""
    _U32(buffer, offset, min(count, MAX_COUNT))


def set_declare_ok_counts(buffer: bytearray, offset: int, messages: int, consumers: int) -> None:
    """Write message and consumer count (4 octets each) of a queue.declare-ok at `offset`."""
    _TWO_U32(buffer, offset, min(messages, MAX_COUNT), min(consumers, MAX_COUNT))


def set_bits(buffer: bytearray, offset: int, mask: int, on: bool) -> None:
    """Set or clear the bits of `mask` in the octet at `offset`; the other bits stay."""
    if on:
        buffer[offset] |= mask
    else:
        buffer[offset] &= ~mask & 0xFF


def set_multiple(buffer: bytearray, start: int, multiple: bool) -> None:
    """Set or clear ``multiple`` (bit 0 at +19) of the basic.ack or basic.nack that begins at `start`."""
    set_bits(buffer, start + 19, 1, multiple)
