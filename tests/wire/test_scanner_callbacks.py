"""What callbacks may do to a scanner: stall, stop, mute and exchange routes; the hooks around contents; patches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.scanning import (
    FRAME_MAX,
    Log,
    Recorder,
    Sink,
    asked,
    bare,
    body,
    carried,
    cut,
    header,
    merged,
    message,
    rare,
    single_octets,
)
from trabbits.wire.constants import BASIC_ACK, BASIC_PUBLISH
from trabbits.wire.errors import Violation
from trabbits.wire.scanner import DISCARD, STALL, Content, Destination, Scanner

A = message(1, "a", b"whole")


class Stalling(Recorder):
    """A recorder whose method callback stalls so many times for each frame."""

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times = times
        self.stalls = 0
        self.scanner.method = self._stalls

    def _stalls(self, index: int, channel: int, frame: bytes) -> Destination | None:
        if self.stalls < self.times:
            self.stalls += 1
            return STALL
        self.stalls = 0
        return self._method(index, channel, frame)

    def resume(self, chunks: list[bytes]) -> None:
        """Feed, and resume as long as there is something to resume."""
        for chunk in chunks:
            self.scanner.feed(chunk)
            while self.scanner.stalled:
                self.scanner.resume()


STREAM = b"".join([bare(1, "a"), rare(1), *A, asked(2, "b"), header(2, 3), body(2, b"abc"), rare(0), bare(1, "b")])


def test_a_stall_leaves_the_frame_and_all_behind_it_unread() -> None:
    """What stands before it is forwarded, what comes later waits, and `resume` takes it up at the same frame."""
    recorder = Stalling()
    recorder.scanner.feed(bare(1, "a") + rare(1) + bare(1, "b")[:5])
    assert recorder.scanner.stalled
    recorder.scanner.feed(bare(1, "b")[5:])
    recorder.scanner.feed(bare(2, "b"))
    assert recorder.log == [("a", bare(1, "a"))]
    assert recorder.scanner.pending == len(rare(1) + bare(1, "b") * 2)
    assert recorder.scanner.frames == 1
    recorder.scanner.resume()
    assert not recorder.scanner.stalled
    assert recorder.log[1:] == [("method", rare(1)), ("b", bare(1, "b") + bare(2, "b"))]
    assert recorder.scanner.frames == 4


def test_resuming_without_a_stall_is_nothing() -> None:
    recorder = Recorder()
    recorder.scanner.feed(rare(1)[:5])
    recorder.scanner.resume()
    assert recorder.log == []
    assert recorder.scanner.pending == 5


def test_a_resumed_scanner_may_stall_again_and_may_raise() -> None:
    recorder = Stalling(times=2)
    recorder.scanner.feed(rare(1) + body(1, b"x"))
    recorder.scanner.resume()
    assert recorder.scanner.stalled
    with pytest.raises(Violation, match="expected a method frame"):
        recorder.scanner.resume()
    assert recorder.log == [("method", rare(1))]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8), st.integers(0, 2))
def test_stalls_change_nothing_in_any_chunking(places: list[int], times: int) -> None:
    plain, stalling = Recorder(), Stalling(times)
    plain.feed([STREAM])
    stalling.resume(cut(STREAM, places))
    assert merged(stalling.log) == merged(plain.log)
    assert stalling.scanner.frames == plain.scanner.frames


def test_the_rest_of_a_stalled_scanner_can_be_taken() -> None:
    """Then nothing is stalled any more."""
    recorder = Stalling()
    recorder.scanner.feed(bare(1, "a") + rare(1))
    recorder.scanner.feed(b"more")
    assert recorder.scanner.take_rest() == rare(1) + b"more"
    assert not recorder.scanner.stalled
    assert recorder.scanner.pending == 0


@pytest.mark.parametrize("behind", [b"", b"\xff" * 20, rare(1)[:3]])
@pytest.mark.parametrize("places", [[], [5], [17]])
def test_stop_leaves_the_rest_of_the_chunk(behind: bytes, places: list[int]) -> None:
    """Nothing behind is looked at, however wrong it is, and what comes later is dropped."""
    recorder = Recorder()

    def method(index: int, channel: int, frame: bytes) -> None:
        recorder.log.append(("method", frame))
        recorder.scanner.stop()

    recorder.scanner.method = method
    for chunk in cut(bare(1, "a") + asked(1, "a") + behind, places):
        recorder.scanner.feed(chunk)
    recorder.scanner.feed(b"late")
    assert recorder.log == [("a", bare(1, "a")), ("method", asked(1, "a"))]
    assert recorder.scanner.take_rest() == behind
    assert not recorder.scanner.contents


def test_a_muted_scanner_forwards_nothing_more() -> None:
    """Not even the rest of messages it is in the middle of; the method callback still hears everything."""
    recorder = Recorder()
    finished: list[int] = []
    recorder.scanner.feed(b"".join(A[:2]))
    recorder.began[0][1].done = lambda: finished.append(1)
    recorder.scanner.mute()
    recorder.scanner.method = lambda index, channel, frame: recorder.log.append(("method", frame))
    recorder.scanner.feed(A[2] + bare(1, "a") + carried(2, "b") + header(2, 0))
    assert recorder.log == [("a", A[0] + A[1]), ("method", bare(1, "a")), ("method", carried(2, "b"))]
    assert finished == []
    assert not recorder.scanner.contents


def test_every_callback_may_be_exchanged_by_the_method_callback() -> None:
    """The new ones hold from the next frame of the same chunk on."""
    recorder = Recorder()

    def method(index: int, channel: int, frame: bytes) -> None:
        recorder.scanner.carrying = {BASIC_PUBLISH: lambda *_: recorder.sinks["b"]}
        recorder.scanner.bare = {BASIC_ACK: lambda *_: recorder.sinks["c"]}

    recorder.scanner.method = method
    recorder.scanner.feed(b"".join([bare(1, "a"), rare(1), *A, bare(1, "a")]))
    assert recorder.log == [("a", bare(1, "a")), ("b", b"".join(A)), ("c", bare(1, "a"))]


# Hooks around contents


def test_a_whole_message_begins_nothing() -> None:
    """The common case costs no object: method, header and one body frame in one chunk."""
    recorder = Recorder()
    recorder.scanner.feed(b"".join(A + message(2, "b")))
    assert recorder.began == []


@pytest.mark.parametrize("places", [[len(A[0])], [len(A[0] + A[1])], [len(b"".join(A)) - 1], []])
@pytest.mark.parametrize("pieces", [[b"who", b"le"], [b"whole", b""], [b"", b"whole"]])
def test_a_message_in_parts_begins_once(pieces: list[bytes], places: list[int]) -> None:
    """`began` is told channel and content; the destination is that of the method, `left` counts down."""
    recorder = Recorder()
    frames = message(3, "a", *pieces)
    if not pieces[-1]:
        frames.pop()
        if not places:
            return  # whole in one chunk after all
    recorder.feed(cut(b"".join(frames), places))
    ((channel, content),) = recorder.began
    assert channel == 3
    assert content.destination is recorder.sinks["a"]
    assert content.left == 0


def test_began_is_told_of_contents_without_a_route() -> None:
    recorder = Recorder()
    recorder.scanner.feed(asked(1, "b") + asked(2, "?") + header(1, 0) + header(2, 0))
    assert [channel for channel, _ in recorder.began] == [1, 2]
    assert recorder.log[2:] == [("b", header(1, 0))]


@pytest.mark.parametrize("chunks", [single_octets(b"".join(A)), A])
def test_done_is_called_when_the_last_octet_is_with_the_destination(chunks: list[bytes]) -> None:
    """Once, before anything behind goes there."""
    recorder = Recorder()

    def began(channel: int, content: Content) -> None:
        content.done = lambda: recorder.log.append(("done", b""))

    recorder.scanner.began = began
    pieces = b"".join(message(1, "a", b"x", b"y"))
    recorder.feed([*chunks, bare(1, "a") + pieces + bare(1, "a")])
    assert merged(recorder.log) == [
        ("a", b"".join(A)),
        ("done", b""),
        ("a", bare(1, "a") + pieces),
        ("done", b""),
        ("a", bare(1, "a")),
    ]


def test_the_destination_of_a_content_may_change_on_its_way() -> None:
    """As when the one who wanted the rest is gone."""
    recorder = Recorder()
    recorder.scanner.feed(A[0])
    recorder.began[0][1].destination = recorder.sinks["b"]
    recorder.scanner.feed(A[1])
    recorder.began[0][1].destination = DISCARD
    recorder.scanner.feed(A[2])
    assert recorder.log == [("a", A[0]), ("b", A[1])]


def deciding(recorder: Recorder, decide: Callable[[bytes], Destination]) -> None:
    """Have every content of this recorder decided by its header."""

    def began(channel: int, content: Content) -> None:
        content.decide = decide

    recorder.scanner.began = began


DECIDED = [asked(1, "?"), *message(2, "b", b"other"), header(1, 5), bare(2, "c"), body(1, b"ab"), body(1, b"cde")]


@pytest.mark.parametrize("patching", [False, True])
def test_a_content_header_may_decide_where_a_content_goes(patching: bool) -> None:
    """What is decided emits in its place, behind what came before; however the stream is cut."""
    stream = b"".join([*DECIDED, asked(3, "?"), header(3, 0), bare(1, "a")])
    for size in (1, 5, 19, len(stream)):
        recorder = Recorder(patching=patching)

        def decide(frame: bytes, recorder: Recorder = recorder) -> Destination:
            recorder.log.append(("method", frame))
            return recorder.sinks["b" if frame[2] == 2 else "a"]

        deciding(recorder, decide)
        recorder.feed(stream[at : at + size] for at in range(0, len(stream), size))
        sent = {name: b"".join(octets for to, octets in recorder.log if to == name) for name in "abc"}
        assert sent["a"] == b"".join([header(1, 5), body(1, b"ab"), body(1, b"cde"), header(3, 0), bare(1, "a")])
        assert sent["b"] == b"".join(DECIDED[1:4])
        decided = recorder.log.index(("method", header(1, 5)))
        assert ("a", header(1, 5)) not in recorder.log[:decided]
        assert b"".join(DECIDED[1:4]) == b"".join(octets for to, octets in recorder.log[:decided] if to == "b")
        assert recorder.scanner.contents == {}


def test_a_decision_may_be_nowhere() -> None:
    recorder = Recorder()
    deciding(recorder, lambda frame: DISCARD)
    recorder.scanner.feed(asked(1, "a") + header(1, 2) + body(1, b"ab") + bare(1, "a"))
    assert recorder.log == [("method", asked(1, "a")), ("a", bare(1, "a"))]
    assert (recorder.scanner.frames, recorder.scanner.forwarded) == (4, 1)


def test_a_scanner_without_hooks_works_as_well() -> None:
    recorder = Recorder()
    recorder.scanner.began = None
    recorder.feed(A)
    assert merged(recorder.log) == [("a", b"".join(A))]


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_watcher_sees_every_frame_whole(size: int) -> None:
    """In some piece, before anything is decided about it."""
    recorder = Recorder()
    watched: list[bytes] = []
    recorder.scanner.watch = watched.append
    frames = [*A, rare(1), *message(2, "b", b"x" * 30, b"y" * 30), bare(1, "a")]
    stream = b"".join(frames)
    recorder.feed(stream[at : at + size] for at in range(0, len(stream), size))
    for frame in frames:
        assert any(frame in octets for octets in watched)


# Failures of callbacks, which are our own


class Broken(Exception):
    """What no callback should raise."""


@pytest.mark.parametrize("from_route", [False, True])
@pytest.mark.parametrize("before", [b"", bare(1, "a")[:4]])
def test_an_error_of_a_callback_leaves_the_rest_to_be_taken(from_route: bool, before: bytes) -> None:
    """So that whoever closes the connection can read on at a frame's start."""
    recorder = Recorder()

    def fails(*arguments: object) -> Destination | None:
        raise Broken

    if from_route:
        recorder.scanner.carrying = {BASIC_PUBLISH: fails}
        bad = carried(1, "a")
    else:
        recorder.scanner.method = fails
        bad = rare(1)
    recorder.scanner.feed(before)
    with pytest.raises(Broken):
        recorder.scanner.feed(bare(1, "a")[len(before) :] + bad + b"\x01\0")
    assert recorder.log == [("a", bare(1, "a"))]
    assert recorder.scanner.pending == len(bad) + 2
    assert recorder.scanner.take_rest() == bad + b"\x01\0"


def test_an_error_of_a_decision_leaves_the_content_header_to_be_taken() -> None:
    recorder = Recorder()

    def fails(frame: bytes) -> Destination:
        raise Broken

    deciding(recorder, fails)
    with pytest.raises(Broken):
        recorder.scanner.feed(bare(1, "a") + asked(1, "b") + bare(2, "c") + header(1, 2) + body(1, b"ab")[:4])
    assert recorder.log == [("a", bare(1, "a")), ("method", asked(1, "b")), ("c", bare(2, "c"))]
    recorder.scanner.mute()
    recorder.scanner.feed(body(1, b"ab")[4:] + rare(0))
    assert recorder.log[3:] == [("method", rare(0))]


def test_an_error_of_a_callback_leaves_a_scanner_that_can_be_muted() -> None:
    """The frames behind, and the offending one again, go to the method callback."""
    recorder = Recorder()

    def fails(*arguments: object) -> Destination | None:
        raise Broken

    recorder.scanner.carrying = {BASIC_PUBLISH: fails}
    with pytest.raises(Broken):
        recorder.scanner.feed(b"".join(A) + rare(0)[:4])
    recorder.scanner.mute()
    recorder.scanner.feed(rare(0)[4:])
    assert recorder.log == [("method", A[0]), ("a", A[1] + A[2]), ("method", rare(0))]


# Patches


def patching_route(scanner: Scanner, sink: Sink) -> None:
    """Routes that change a letter of every method to "A"."""

    def route(octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        scanner.patchable[end - 2] = ord("A")
        return sink

    scanner.carrying = {BASIC_PUBLISH: route}
    scanner.bare = {BASIC_ACK: route}


@given(st.lists(st.integers(0, 120), max_size=6))
def test_patches_reach_the_destination_and_not_the_input(places: list[int]) -> None:
    """The chunk that came is somebody else's."""
    log: Log = []
    scanner = Scanner(FRAME_MAX, lambda index, channel, frame: None, patching=True)
    patching_route(scanner, Sink("a", log))
    stream = b"".join([bare(1, "a"), *A, rare(1), *message(2, "b", b"x", b"y"), bare(1, "b")])
    chunks = cut(stream, [place % (len(stream) + 1) for place in places])
    copies = [bytes(bytearray(chunk)) for chunk in chunks]
    for chunk in chunks:
        scanner.feed(chunk)
    assert chunks == copies
    expected = stream.replace(rare(1), b"").replace(bare(1, "b"), bare(1, "A"))
    for letter in "ab":
        expected = expected.replace(bare(1, letter), bare(1, "A"))
        for channel in (1, 2):
            expected = expected.replace(carried(channel, letter), carried(channel, "A"))
    assert merged(log) == [("a", expected)]


def test_what_was_patched_before_stays_as_it_left() -> None:
    """Each chunk has a buffer of its own: a destination may keep what it was given."""
    out: list[bytes] = []
    scanner = Scanner(FRAME_MAX, lambda index, channel, frame: None, patching=True)

    def route(octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        scanner.patchable[end - 2] = ord("x") + len(out)
        return out

    scanner.bare = {BASIC_ACK: route}
    scanner.feed(bare(1, "a"))
    scanner.feed(bare(1, "a"))
    assert list(map(bytes, out)) == [bare(1, "x"), bare(1, "y")]
