"""Patches change their field and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from trabbits.wire import patch, peek
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import ack_frame, method_frame, nack_frame


@given(st.text(max_size=60), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_delivery_tag_is_exchanged(consumer_tag: str, before: int, after: int) -> None:
    """The patched frame is the one that would have been built, and its neighbours stay."""
    built = [method_frame(1, commands.Basic.Deliver(consumer_tag, tag, True, "e", "k")) for tag in (before, after)]
    buffer = bytearray(built[0] * 3)
    patch.set_delivery_tag(buffer, peek.deliver_delivery_tag_offset(buffer, len(built[0])), after)
    assert buffer == built[0] + built[1] + built[0]


@pytest.mark.parametrize(("count", "written"), [(0, 0), (7, 7), (2**32 - 1, 2**32 - 1), (2**32, 2**32 - 1)])
def test_a_message_count_is_exchanged(count: int, written: int) -> None:
    """A sum over many links that is too large for the field becomes the largest count."""
    buffer = bytearray(method_frame(1, commands.Basic.GetOk(5, False, "e", "k", 9)))
    patch.set_message_count(buffer, peek.get_ok_message_count_offset(buffer, 0), count)
    assert dict(decode_method(buffer)) == dict(commands.Basic.GetOk(5, False, "e", "k", written))
    purged = bytearray(method_frame(1, commands.Queue.PurgeOk(9)))
    patch.set_message_count(purged, 11, count)
    assert peek.message_count(purged, 0) == written


def test_declare_ok_counts_are_exchanged() -> None:
    """Both at once, each with its own bound."""
    buffer = bytearray(method_frame(1, commands.Queue.DeclareOk("q", 1, 2)))
    patch.set_declare_ok_counts(buffer, peek.declare_ok_counts_offset(buffer, 0), 2**40, 5)
    assert dict(decode_method(buffer)) == {"queue": "q", "message_count": 2**32 - 1, "consumer_count": 5}


def test_multiple_is_exchanged_and_requeue_stays() -> None:
    """In basic.ack and basic.nack, in the middle of a buffer."""
    buffer = bytearray(b"zz" + nack_frame(1, 9, False, True))
    patch.set_multiple(buffer, 2, True)
    assert buffer == b"zz" + nack_frame(1, 9, True, True)
    patch.set_multiple(buffer, 2, False)
    assert buffer == b"zz" + nack_frame(1, 9, False, True)
    acked = bytearray(ack_frame(1, 9, True))
    patch.set_multiple(acked, 0, False)
    assert acked == ack_frame(1, 9, False)


@given(st.integers(0, 255), st.integers(0, 255))
def test_bits_are_set_and_cleared(octet: int, mask: int) -> None:
    """Only those of the mask."""
    buffer = bytearray((octet, octet))
    patch.set_bits(buffer, 0, mask, True)
    patch.set_bits(buffer, 1, mask, False)
    assert list(buffer) == [octet | mask, octet & ~mask]


def test_a_channel_is_exchanged() -> None:
    """The two octets behind the type."""
    buffer = bytearray(b"zz" + ack_frame(1, 9, True))
    patch.set_channel(buffer, 2, 65535)
    assert buffer == b"zz" + ack_frame(65535, 9, True)


@pytest.mark.parametrize("tag", [-1, 2**64])
def test_a_tag_that_does_not_fit_is_an_error(tag: int) -> None:
    """Our own mistake is not written as some other tag."""
    with pytest.raises(struct.error):
        patch.set_delivery_tag(bytearray(ack_frame(1, 9, True)), 11, tag)
