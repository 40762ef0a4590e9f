"""Frames made smaller: the same content in order, nothing larger than agreed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trabbits.wire.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, HEARTBEAT_FRAME
from trabbits.wire.encode import ack_frame, frame
from trabbits.wire.errors import Violation
from trabbits.wire.resplit import resplit


def frames(chunk: bytes) -> list[tuple[int, int, bytes]]:
    """A naive splitter: type, channel and payload of each frame."""
    found = []
    while chunk:
        size = int.from_bytes(chunk[3:7], "big")
        assert chunk[size + 7] == 0xCE
        found.append((chunk[0], int.from_bytes(chunk[1:3], "big"), chunk[7 : size + 7]))
        chunk = chunk[size + 8 :]
    return found


@pytest.mark.parametrize(
    ("before", "frame_max", "after"),
    [
        (b"", 20, b""),
        (HEARTBEAT_FRAME, 8, HEARTBEAT_FRAME),
        (frame(3, 1, b"abcd"), 12, frame(3, 1, b"abcd")),
        (frame(3, 1, b"abcde"), 12, frame(3, 1, b"abcd") + frame(3, 1, b"e")),
        (frame(3, 1, b"abcdefgh"), 12, frame(3, 1, b"abcd") + frame(3, 1, b"efgh")),
        (frame(3, 1, b"abc"), 9, frame(3, 1, b"a") + frame(3, 1, b"b") + frame(3, 1, b"c")),
        (frame(3, 1, b""), 9, frame(3, 1, b"")),
        (frame(3, 1, b"x" * 5000), 0, frame(3, 1, b"x" * 5000)),
        (
            ack_frame(2, 1, False) + frame(3, 1, b"x" * 20) + ack_frame(2, 2, False) + frame(3, 1, b"y" * 14),
            21,
            ack_frame(2, 1, False)
            + frame(3, 1, b"x" * 13)
            + frame(3, 1, b"x" * 7)
            + ack_frame(2, 2, False)
            + frame(3, 1, b"y" * 13)
            + frame(3, 1, b"y"),
        ),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_only_large_bodies_are_cut(before: bytes, frame_max: int, after: bytes, kind: Any) -> None:
    """frame_max counts the eight octets of framing."""
    split = resplit(kind(before), frame_max)
    assert split == after
    assert type(split) is bytes


@given(
    st.lists(
        st.tuples(st.just(FRAME_BODY), st.integers(0, 3), st.binary(max_size=300))
        | st.tuples(st.sampled_from([FRAME_METHOD, FRAME_HEADER]), st.integers(0, 3), st.binary(max_size=24)),
        max_size=8,
    ),
    st.integers(32, 200),
)
def test_content_and_order_stay(parts: list[tuple[int, int, bytes]], frame_max: int) -> None:
    """Against a naive model: joined bodies are the same, other frames stand where they stood."""
    split = frames(resplit(b"".join(frame(*part) for part in parts), frame_max))
    assert all(len(payload) + 8 <= frame_max for _, _, payload in split)
    expected = []
    for kind, channel, payload in parts:
        cuts = range(0, max(len(payload), 1), frame_max - 8)
        expected += [(kind, channel, payload[cut : cut + frame_max - 8]) for cut in cuts]
    assert split == expected


@pytest.mark.parametrize(
    ("chunk", "frame_max", "channel"),
    [
        (frame(1, 5, b"x" * 14), 21, 5),
        (frame(2, 5, b"x" * 14), 21, 5),
        (frame(3, 5, b"x"), 8, 5),
        (frame(3, 5, b"x"), 5, 5),
        (frame(3, 1, b"x" * 20) + frame(2, 5, b"x" * 14), 21, 5),
        (b"\x01\0", 21, 0),
        (ack_frame(5, 1, True) + b"\x03\0\x05\0\0\0\x05", 4096, 0),
        (ack_frame(5, 1, True) + b"\x03\0\x05\0\0\0\x05abcd", 4096, 5),
    ],
)
def test_what_cannot_be_cut_is_a_violation(chunk: bytes, frame_max: int, channel: int) -> None:
    """Methods and headers have no smaller form; a piece of a frame is no frame."""
    with pytest.raises(Violation) as caught:
        resplit(chunk, frame_max)
    assert (caught.value.code, caught.value.channel) == (501, channel)


@given(st.binary(max_size=100), st.integers(0, 50))
def test_random_octets_give_octets_or_a_violation(chunk: bytes, frame_max: int) -> None:
    """Only `Violation` gets out."""
    try:
        resplit(chunk, frame_max)
    except Violation:
        pass
