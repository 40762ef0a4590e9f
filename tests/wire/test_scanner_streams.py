"""The scanner on random streams, against a naive one that goes frame by frame through the whole."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.scanning import (
    FRAME_MAX,
    Recorder,
    asked,
    bare,
    body,
    carried,
    cut,
    header,
    merged,
    naive,
    rare,
    visible,
)
from trabbits.wire.constants import HEARTBEAT_FRAME

LETTERS = st.sampled_from("ab?c")
PIECES = st.lists(st.binary(max_size=FRAME_MAX - 8), max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """What one channel says: the frames of messages and methods, in order."""
    channel = draw(st.integers(1, 3))
    frames: list[bytes] = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from([carried, asked, bare, None]))
        frames.append(kind(channel, draw(LETTERS)) if kind is not None else rare(channel))
        if kind in (carried, asked):
            pieces = draw(PIECES)
            size = sum(map(len, pieces))
            # An empty body frame behind the last octet is no part of the message any more.
            while pieces and not pieces[-1]:
                pieces.pop()
            frames += [header(channel, size), *(body(channel, piece) for piece in pieces)]
    return frames


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """What a peer may say: conversations on different channels, interleaved, and heartbeats in between."""
    queues = {each[0][1:3]: each for each in draw(st.lists(conversations(), max_size=3)) if each}
    waiting = [*queues.values(), [HEARTBEAT_FRAME] * draw(st.integers(0, 2))]
    frames: list[bytes] = []
    while waiting := [each for each in waiting if each]:
        turn = draw(st.integers(0, len(waiting) - 1))
        count = draw(st.integers(1, 3))
        frames += waiting[turn][:count]
        waiting[turn] = waiting[turn][count:]
    return b"".join(frames)


@st.composite
def chunked(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """A stream, and the same in pieces."""
    stream = draw(source)
    return stream, cut(stream, draw(st.lists(st.integers(0, len(stream)), max_size=12)))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A stream with a few octets changed, dropped, put in, or frames swapped."""
    stream = bytearray(draw(streams()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(stream)))
        match draw(st.integers(0, 3)):
            case 0:
                stream[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del stream[at : at + draw(st.integers(1, 20))]
            case 2:
                stream[at:at] = draw(st.binary(max_size=20))
            case _:
                until = draw(st.integers(at, len(stream)))
                stream += stream[at:until]
                del stream[at:until]
    return bytes(stream)


@given(chunked(streams()), st.booleans())
def test_any_chunking_gives_the_same(sample: tuple[bytes, list[bytes]], patching: bool) -> None:
    """The same octets to the same destinations in the same order, however they came."""
    stream, chunks = sample
    recorder = Recorder(patching=patching)
    assert recorder.feed(chunks) is None
    log, code, _ = naive(stream)
    assert code is None
    assert merged(recorder.log) == merged(visible(log))
    assert not recorder.scanner.contents
    assert not recorder.scanner.pending


@given(streams())
def test_runs_are_maximal_in_a_chunk(stream: bytes) -> None:
    """Two runs in a row differ in their destination, or frames that go nowhere stood between them."""
    recorder = Recorder()
    recorder.feed([stream])
    assert recorder.log == visible(merged(naive(stream)[0]))


@given(chunked(mutated() | st.binary(max_size=200)))
@example((b"\x01\0\x01\0\0\0\x03\0\x3c\0\xce\x28", [b"\x01\0\x01\0\0\0\x03\0\x3c\0\xce\x28"]))
def test_a_mutation_lets_only_violations_out(sample: tuple[bytes, list[bytes]]) -> None:
    """Whatever a peer sends: what is sound goes its way, then a `Violation` with the right code or nothing."""
    stream, chunks = sample
    recorder = Recorder()
    violation = recorder.feed(chunks)
    log, code, stopped = naive(stream)
    assert (violation.code if violation else None) == code
    assert merged(recorder.log) == merged(visible(log))
    assert recorder.scanner.take_rest() == stream[stopped : recorder.fed]
