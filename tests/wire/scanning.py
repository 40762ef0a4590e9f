"""What the scanner's tests share: frames, a recorder of everything that leaves a scanner, and a naive scanner.

The methods here mean nothing but these: `carried` has content, and the route answers with the destination that its
letter names; with "?" the route has no opinion and the method callback is asked.  `bare` is the same without content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from trabbits.wire.constants import BASIC_ACK, BASIC_PUBLISH, BASIC_RETURN, CHANNEL_FLOW
from trabbits.wire.encode import frame
from trabbits.wire.errors import Violation
from trabbits.wire.scanner import DISCARD, Content, Destination, Scanner

#: (where to, octets); what the method callback is given goes to "method".
Log = list[tuple[str, bytes]]

FRAME_MAX = 64


def method(index: int, channel: int, rest: bytes = b"") -> bytes:
    """A method frame."""
    return frame(1, channel, index.to_bytes(4, "big") + rest)


def carried(channel: int, to: str) -> bytes:
    """A method with content, routed to the destination of this letter."""
    return method(BASIC_PUBLISH, channel, to.encode())


def bare(channel: int, to: str) -> bytes:
    """A method without content that has a route."""
    return method(BASIC_ACK, channel, to.encode())


def asked(channel: int, to: str) -> bytes:
    """A method with content that has no route; the method callback answers with the destination of this letter."""
    return method(BASIC_RETURN, channel, to.encode())


def rare(channel: int) -> bytes:
    """A method without content that has no route."""
    return method(CHANNEL_FLOW, channel, b"x")


def header(channel: int, size: int, properties: bytes = b"\0\0") -> bytes:
    """A content header."""
    return frame(2, channel, b"\0\x3c\0\0" + size.to_bytes(8, "big") + properties)


def body(channel: int, octets: bytes) -> bytes:
    """A body frame."""
    return frame(3, channel, octets)


def message(channel: int, to: str, *pieces: bytes) -> list[bytes]:
    """A whole message, its body cut into these pieces."""
    return [
        carried(channel, to),
        header(channel, sum(map(len, pieces))),
        *(body(channel, piece) for piece in pieces),
    ]


def letter(octets: bytes, end: int) -> str:
    """The letter of a method whose frame ends before `end`; destinations have no others than these."""
    return {97: "a", 98: "b", 63: "?"}.get(octets[end - 2], "c")


class Sink:
    """A destination that writes into the log."""

    def __init__(self, name: str, log: Log) -> None:
        self._name = name
        self._log = log

    def append(self, octets: bytes, /) -> None:
        self._log.append((self._name, bytes(octets)))


class Recorder:
    """A scanner and the log of what left it."""

    def __init__(self, frame_max: int = FRAME_MAX, *, patching: bool = False) -> None:
        self.log: Log = []
        self.sinks = {name: Sink(name, self.log) for name in "abc"}
        self.began: list[tuple[int, Content]] = []
        #: How many octets were fed.
        self.fed = 0
        self.scanner = Scanner(frame_max, self._method, patching=patching)
        self.scanner.carrying = {BASIC_PUBLISH: self.route}
        self.scanner.bare = {BASIC_ACK: self.route}
        self.scanner.began = lambda channel, content: self.began.append((channel, content))

    def route(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        """The route of all methods that have one."""
        return self.sinks.get(letter(octets, end))

    def _method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        self.log.append(("method", frame))
        return self.sinks.get(letter(frame, len(frame)), DISCARD)

    def feed(self, chunks: Iterable[bytes]) -> Violation | None:
        """Scan chunk by chunk, up to the violation if there is one."""
        try:
            for chunk in chunks:
                self.fed += len(chunk)
                self.scanner.feed(chunk)
        except Violation as violation:
            return violation
        return None


def merged(log: Iterable[tuple[str, bytes]]) -> Log:
    """The log with what went to the same destination in a row as one; methods stay apart."""
    runs: Log = []
    for name, octets in log:
        if runs and runs[-1][0] == name != "method":
            runs[-1] = (name, runs[-1][1] + octets)
        else:
            runs.append((name, octets))
    return runs


def single_octets(stream: bytes) -> list[bytes]:
    """The stream octet by octet."""
    return [stream[at : at + 1] for at in range(len(stream))]


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """The stream cut at these places."""
    edges = [0, *sorted(places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def naive(stream: bytes, frame_max: int = FRAME_MAX) -> tuple[Log, int | None, int]:
    """What a scanner must make of a stream: frame by frame where it goes, the code of the violation, the offset
    of the frame it stopped at."""
    log: Log = []
    contents: dict[int, tuple[str, int]] = {}
    at = 0
    while len(stream) - at >= 7:
        kind, channel = stream[at], int.from_bytes(stream[at + 1 : at + 3], "big")
        size = int.from_bytes(stream[at + 3 : at + 7], "big")
        if kind not in (1, 2, 3, 8) or size + 8 > frame_max:
            return log, 501, at
        if kind == 8 and (channel or size):
            return log, 503 if channel else 501, at
        whole = stream[at : at + size + 8]
        if len(whole) < size + 8:
            break
        payload = whole[7:-1]
        code = _judged(kind, payload, whole[-1], contents.get(channel))
        if code is not None:
            return log, code, at
        if kind == 1:
            index, to = int.from_bytes(payload[:4], "big"), letter(whole, len(whole))
            if index in (BASIC_PUBLISH, BASIC_ACK) and to != "?":
                log.append((to, whole))
            else:
                log.append(("method", whole))
            if index in (BASIC_PUBLISH, BASIC_RETURN) or payload[:4] in CONTENT_FROM_SERVER:
                contents[channel] = (to, -1)
        elif kind == 8:
            log.append(("?", whole))
        else:
            to, left = contents[channel]
            log.append((to, whole))
            left = int.from_bytes(payload[4:12], "big") if kind == 2 else left - size
            contents[channel] = (to, left)
            if not left:
                del contents[channel]
        at += size + 8
    return log, None, at


CONTENT_FROM_SERVER = (b"\0\x3c\0\x3c", b"\0\x3c\0\x47")  # basic.deliver, basic.get-ok


def _judged(kind: int, payload: bytes, last: int, content: tuple[str, int] | None) -> int | None:
    """The code for a frame that is whole, None for a good one."""
    if last != 0xCE:
        return 501
    if kind == 8:
        return None
    if kind == 1:
        if content is not None:
            return 505
        return 501 if len(payload) < 4 else None
    if content is None or (content[1] < 0) != (kind == 2):
        return 505
    if kind == 2:
        if len(payload) < 14:
            return 501
        return 505 if payload[:2] != b"\0\x3c" else None
    return 505 if len(payload) > content[1] else None


def visible(log: Log) -> Log:
    """A naive scanner's log without what no one sees: heartbeats, and the destination "?" that is nowhere."""
    return [(name, octets) for name, octets in log if name != "?"]
