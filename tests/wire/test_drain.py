"""Reading to the end: the method that closes a connection is found in any chunking, whatever stands before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.scanning import cut, single_octets
from trabbits.wire.constants import CONNECTION_CLOSE, CONNECTION_CLOSE_OK, CONNECTION_TUNE, HEARTBEAT_FRAME
from trabbits.wire.drain import Drain
from trabbits.wire.encode import connection_close, empty_method, frame

CLOSE = connection_close(200, "bye")
CLOSE_OK = empty_method(0, CONNECTION_CLOSE_OK)
#: Frames that mean nothing here, some of which nearly are what is looked for.
OTHERS = [
    HEARTBEAT_FRAME,
    frame(1, 0, b""),
    frame(1, 0, b"\0\x0a\0"),
    frame(1, 0, CONNECTION_TUNE.to_bytes(4, "big") + bytes(8)),
    frame(1, 1, CONNECTION_CLOSE_OK.to_bytes(4, "big")),
    frame(2, 0, CONNECTION_CLOSE.to_bytes(4, "big") + bytes(10)),
    frame(3, 0, CLOSE_OK + CLOSE),
    frame(3, 1, b""),
    frame(3, 1, b"x" * 300),
    frame(8, 7, b"not even a heartbeat"),
    frame(99, 7, b""),
]


@given(
    st.sampled_from([(CLOSE, CONNECTION_CLOSE), (CLOSE_OK, CONNECTION_CLOSE_OK)]),
    st.lists(st.sampled_from(OTHERS), max_size=6),
    st.lists(st.integers(0, 2000), max_size=8),
)
def test_found_in_any_chunking(wanted: tuple[bytes, int], others: list[bytes], places: list[int]) -> None:
    """It is found with the octets that tell, and not before."""
    last, found = wanted
    stream = b"".join(others) + last
    at = len(stream) - len(last)
    drain = Drain()
    fed = 0
    for chunk in cut(stream, [place % (len(stream) + 1) for place in places]):
        result = drain.feed(chunk)
        fed += len(chunk)
        assert result == (found if fed >= at + 11 else None)
        if result is not None:
            return
    raise AssertionError("not found")


@pytest.mark.parametrize("other", OTHERS)
def test_nothing_else_is_found(other: bytes) -> None:
    drain = Drain()
    assert [drain.feed(octet) for octet in single_octets(other)] == [None] * len(other)
    assert drain.feed(other) is None
    assert drain.feed(b"") is None
    assert drain.feed(CLOSE_OK) == CONNECTION_CLOSE_OK


def test_a_payload_is_skipped_and_not_held() -> None:
    """However large a frame says it is, no more than a head is kept."""
    drain = Drain()
    drain.feed(b"\x03\0\x01" + (1 << 30).to_bytes(4, "big"))
    for _ in range(100):
        assert drain.feed(b"x" * 1000) is None
    assert len(drain._held) < 11


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_only_finds_or_does_not(chunks: list[bytes]) -> None:
    """A stream out of step raises nothing."""
    drain = Drain()
    for chunk in chunks:
        assert drain.feed(chunk) in (None, CONNECTION_CLOSE, CONNECTION_CLOSE_OK)
