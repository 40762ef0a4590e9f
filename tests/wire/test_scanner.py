"""The scanner, case by case: one row is octets and where they go, and every row is scanned in every way to cut it.

Covered: runs and their borders, content over frames and channels, every violation, and what was sound before it.
Not covered here: random streams (test_scanner_streams.py), stalls, hooks and patches (test_scanner_callbacks.py).
"""

from __future__ import annotations

from itertools import chain

import pytest
from attrs import frozen

from tests.wire.scanning import (
    FRAME_MAX,
    Log,
    Recorder,
    asked,
    bare,
    body,
    carried,
    cut,
    header,
    merged,
    message,
    method,
    rare,
    single_octets,
)
from trabbits.wire.constants import BASIC_DELIVER, BASIC_GET_OK, HEARTBEAT_FRAME
from trabbits.wire.encode import frame
from trabbits.wire.scanner import Scanner


@frozen
class Case:
    """Frames, and the runs that a scanner makes of them when they come in one piece: (where to, how many frames).

    Where to is "nowhere" for what is swallowed; heartbeats do not count.  `code` is that of the violation that the
    first frame behind the runs is, if there is one.
    """

    name: str
    frames: list[bytes]
    runs: list[tuple[str, int]]
    code: int | None = None
    words: str = ""

    @property
    def octets(self) -> bytes:
        return b"".join(self.frames)

    @property
    def log(self) -> Log:
        """The runs with their octets."""
        frames = iter(each for each in self.frames if each != HEARTBEAT_FRAME)
        runs = [(name, b"".join(next(frames) for _ in range(count))) for name, count in self.runs]
        return [(name, octets) for name, octets in runs if name != "nowhere"]

    @property
    def sound(self) -> bytes:
        """Everything before the violation."""
        left = sum(count for _, count in self.runs)
        sound = b""
        for each in self.frames:
            if not left and (each != HEARTBEAT_FRAME):
                break
            sound += each
            left -= each != HEARTBEAT_FRAME
        return sound


A = message(1, "a", b"whole")
A_IN_PIECES = message(1, "a", b"one", b"two", b"three")
EMPTY = message(1, "a")
NEARLY_ALL = b"x" * (FRAME_MAX - 8)

SOUND = [
    Case("nothing", [], []),
    Case("a heartbeat", [HEARTBEAT_FRAME], []),
    Case("a method without a route", [rare(1)], [("method", 1)]),
    Case("two methods without a route", [rare(1), rare(0)], [("method", 1), ("method", 1)]),
    Case("a method with a route", [bare(1, "a")], [("a", 1)]),
    Case("a route without opinion", [bare(1, "?")], [("method", 1)]),
    Case("a run of one destination", [bare(1, "a"), bare(2, "a"), bare(1, "a")], [("a", 3)]),
    Case("runs of several destinations", [bare(1, "a"), bare(1, "b"), bare(1, "b"), bare(2, "a")],
         [("a", 1), ("b", 2), ("a", 1)]),
    Case("a heartbeat between two runs", [bare(1, "a"), HEARTBEAT_FRAME, bare(1, "a")], [("a", 1), ("a", 1)]),
    Case("a method between two runs", [bare(1, "a"), rare(1), bare(1, "a")], [("a", 1), ("method", 1), ("a", 1)]),
    Case("a message", A, [("a", 3)]),
    Case("a message and a method", [*A, bare(2, "a"), *A], [("a", 7)]),
    Case("messages to two destinations", [*A, *message(1, "b", b"x")], [("a", 3), ("b", 3)]),
    Case("a message without body", EMPTY, [("a", 2)]),
    Case("two messages without body", [*EMPTY, *EMPTY], [("a", 4)]),
    Case("a message in pieces", A_IN_PIECES, [("a", 5)]),
    Case("an empty body frame among others", message(1, "a", b"one", b"", b"two"), [("a", 5)]),
    Case("a body that fills its frame", message(1, "a", NEARLY_ALL), [("a", 3)]),
    Case("a body that fills two frames", message(1, "a", NEARLY_ALL, NEARLY_ALL), [("a", 4)]),
    Case("a header with properties", [carried(1, "a"), header(1, 1, b"\x80\0\x04text"), body(1, b"x")], [("a", 3)]),
    Case("a message without route", [asked(1, "a"), *A[1:]], [("method", 1), ("a", 2)]),
    Case("a message without route, discarded", [asked(1, "?"), header(1, 0), bare(1, "a")],
         [("method", 1), ("nowhere", 1), ("a", 1)]),
    Case("deliveries and messages got are content, too",
         [method(BASIC_DELIVER, 1, b"a"), header(1, 0), method(BASIC_GET_OK, 1, b"b"), header(1, 0)],
         [("method", 1), ("a", 1), ("method", 1), ("b", 1)]),
    Case("a heartbeat in a message", [*A[:2], HEARTBEAT_FRAME, *A[2:]], [("a", 2), ("a", 1)]),
    Case("a heartbeat behind the method", [A[0], HEARTBEAT_FRAME, *A[1:]], [("a", 1), ("a", 2)]),
    Case("messages interleaved over channels", [carried(1, "a"), carried(2, "a"), header(2, 3), header(1, 2),
         body(1, b"1"), body(2, b"222"), body(1, b"1")], [("a", 7)]),
    Case("messages interleaved over channels and destinations", [carried(1, "a"), carried(2, "b"), header(2, 3),
         header(1, 2), body(1, b"1"), body(2, b"222"), body(1, b"1")],
         [("a", 1), ("b", 2), ("a", 2), ("b", 1), ("a", 1)]),
    Case("a method of another channel in a message", [*A[:2], bare(2, "a"), rare(0), *A[2:]],
         [("a", 3), ("method", 1), ("a", 1)]),
    Case("the header on another channel", [carried(1, "a"), carried(2, "b"), header(2, 0), header(1, 0)],
         [("a", 1), ("b", 2), ("a", 1)]),
    Case("the body on another channel", [*A[:2], *message(2, "a", b"other"), *A[2:]], [("a", 6)]),
]  # fmt: skip

HUGE = (1 << 31).to_bytes(4, "big")

BAD = [
    Case("an unknown frame type", [bare(1, "a"), frame(4, 1, b"")], [("a", 1)], 501, "unknown frame type 4"),
    Case("a protocol header", [b"AMQP\0\0\x09\x01"], [], 501, "unknown frame type 65"),
    Case("a frame that is one octet too large", [*A, body(1, NEARLY_ALL + b"x")], [("a", 3)], 501,
         f"frame of {FRAME_MAX + 1} octets on channel 1 is larger than the negotiated frame_max of {FRAME_MAX}"),
    Case("the head of a huge frame", [b"\x01\0\x01" + HUGE], [], 501, "larger than"),
    Case("a huge body in a message", [*A[:2], b"\x03\0\x01" + HUGE], [("a", 2)], 501, "larger than"),
    Case("a bad end octet", [bare(1, "a"), bare(1, "a")[:-1] + b"\x00"], [("a", 1)], 501,
         "frame on channel 1 ends with octet 0x00, expected 0xce"),
    Case("a bad end octet of a header", [A[0], A[1][:-1] + b"\xcf"], [("a", 1)], 501, "ends with octet 0xcf"),
    Case("a bad end octet of a body", [*A[:2], A[2][:-1] + b"\xcd"], [("a", 2)], 501, "ends with octet 0xcd"),
    Case("a bad end octet of a heartbeat", [bare(1, "a"), HEARTBEAT_FRAME[:-1] + b"\0"], [("a", 1)], 501, "ends with"),
    Case("a heartbeat on a channel", [frame(8, 1, b"")], [], 503, "heartbeat on channel 1, must be channel 0"),
    Case("a heartbeat with a payload", [frame(8, 0, b"x")], [], 501, "heartbeat with a payload of 1 octets"),
    Case("a method frame without method id", [frame(1, 1, b"\0\x3c\0")], [], 501, "3 octets has no method id"),
    Case("an empty method frame", [*A, frame(1, 1, b"")], [("a", 3)], 501, "method frame of 0 octets"),
    Case("a header out of nowhere", [bare(1, "a"), header(1, 0)], [("a", 1)], 505,
         "expected a method frame on channel 1, got a content header instead"),
    Case("a body out of nowhere", [body(1, b"x")], [], 505,
         "expected a method frame on channel 1, got a content body instead"),
    Case("a body behind a message", [*A, body(1, b"")], [("a", 3)], 505, "expected a method frame"),
    Case("a body in place of the header", [A[0], A[2]], [("a", 1)], 505,
         "expected content header on channel 1, got a content body instead"),
    Case("a second header", [*A[:2], A[1]], [("a", 2)], 505,
         "expected content body on channel 1, got a content header instead"),
    Case("the header on a channel without content", [A[0], header(2, 0)], [("a", 1)], 505, "on channel 2"),
    Case("a method in place of the header", [A[0], bare(1, "a")], [("a", 1)], 505,
         "expected content header on channel 1, got a method frame instead"),
    Case("a method in place of a body", [*A[:2], rare(1)], [("a", 2)], 505,
         "expected content body on channel 1, got a method frame instead"),
    Case("a message in a message", [*A_IN_PIECES[:3], *A], [("a", 3)], 505, "got a method frame instead"),
    Case("a body that is too long", [*A[:2], body(1, b"whole!")], [("a", 2)], 505,
         "content body is 1 octets longer than its header announced"),
    Case("a last body that is too long", [*A[:2], body(1, b"wh"), body(1, b"oles")], [("a", 3)], 505, "is 1 octets"),
    Case("a short header", [A[0], frame(2, 1, b"\0\x3c" + bytes(11))], [("a", 1)], 501, "header of 13 octets"),
    Case("a header of another class", [A[0], frame(2, 1, b"\0\x0a" + bytes(12))], [("a", 1)], 505,
         "expected content header for class 60, got one for class 10 instead"),
]  # fmt: skip


def name_of(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", SOUND, ids=name_of)
def test_runs_are_maximal(case: Case) -> None:
    """A chunk leaves in as few slices as its destinations allow."""
    recorder = Recorder()
    assert recorder.feed([case.octets]) is None
    assert recorder.log == case.log
    assert recorder.scanner.frames == len(case.frames)
    assert not recorder.scanner.pending
    assert not recorder.scanner.contents


@pytest.mark.parametrize("behind", [b"", b"\x01", b"\x03\0\x01\0\0\0", b"\x01\0\x01\0\0\0\x05\0\x3c"])
@pytest.mark.parametrize("case", SOUND, ids=name_of)
def test_any_cut_and_the_start_of_a_next_frame(case: Case, behind: bytes) -> None:
    """Cut into single octets or in two at every place, with the start of another frame behind: nothing changes."""
    stream = case.octets + behind
    ways = chain([[stream], single_octets(stream)], (cut(stream, [at]) for at in range(len(stream) + 1)))
    for chunks in ways:
        recorder = Recorder()
        assert recorder.feed(chunks) is None
        assert merged(recorder.log) == merged(case.log)
        assert recorder.scanner.frames == len(case.frames)
        assert recorder.scanner.pending == len(behind)
        assert recorder.scanner.take_rest() == behind


@pytest.mark.parametrize("case", BAD, ids=name_of)
def test_violations(case: Case) -> None:
    """What was sound before it went its way, and `take_rest` begins with the offending frame."""
    stream, sound = case.octets, case.sound
    for behind in (b"", b"\x01\0", rare(1)):
        for at in range(len(stream) + 1):
            recorder = Recorder()
            violation = recorder.feed([stream[:at], stream[at:] + behind])
            assert violation is not None
            assert violation.code == case.code
            assert case.words in violation.text
            assert merged(recorder.log) == merged(case.log)
            assert sound + recorder.scanner.take_rest() == (stream + behind)[: recorder.fed]
            assert recorder.scanner.take_rest() == b""


@pytest.mark.parametrize("case", BAD, ids=name_of)
def test_violations_octet_by_octet(case: Case) -> None:
    """The violation comes with its last octet at the latest, and names the channel."""
    recorder = Recorder()
    violation = recorder.feed(single_octets(case.octets))
    assert violation is not None
    assert violation.code == case.code
    assert violation.channel == int.from_bytes(case.octets[len(case.sound) :][1:3], "big") or case.code == 501
    assert merged(recorder.log) == merged(case.log)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_a_frame_too_large_is_refused_by_its_head(kind: int) -> None:
    """Nobody waits for, or holds, a payload that is larger than agreed."""
    head = bytes((kind,)) + b"\0\x07" + (FRAME_MAX - 7).to_bytes(4, "big")
    recorder = Recorder()
    assert recorder.feed(single_octets(head[:-1])) is None
    violation = recorder.feed([head[-1:]])
    assert violation is not None
    assert (violation.code, violation.channel) == (501, 7)


def test_frame_max_may_change_between_frames() -> None:
    """As in the handshake; it counts the framing, and holds for the very next frame."""
    recorder = Recorder(FRAME_MAX)
    scanner = recorder.scanner
    scanner.feed(b"".join(message(1, "a", NEARLY_ALL)))

    def shrink(index: int, channel: int, octets: bytes) -> None:
        scanner.frame_max = FRAME_MAX - 1

    scanner.method = shrink
    violation = recorder.feed([rare(1) + b"".join(message(1, "a", NEARLY_ALL))])
    assert violation is not None
    assert violation.code == 501
    assert scanner.frame_max == FRAME_MAX - 1
    assert recorder.log[1:] == [("a", b"".join(message(1, "a", NEARLY_ALL)[:2]))]


def test_a_whole_chunk_passes_uncopied() -> None:
    """One destination for all of a chunk gets the very octets that came."""
    chunk = b"".join(A * 20)
    out: list[bytes] = []
    scanner = Scanner(4096, lambda index, channel, octets: None)
    scanner.carrying = {0x3C0028: lambda octets, start, end, channel: out}
    scanner.feed(chunk)
    assert out[0] is chunk
