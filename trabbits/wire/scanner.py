"""The frame scanner: walks the octets of one peer and cuts them into runs, decoding nothing.

Lives here: splitting the stream into frames over any chunk boundary, the checks that every frame must pass
(size, end octet, type, order of content), and cutting *runs*: maximal stretches of consecutive frames that go
to the same destination and leave as one slice.
Must not know: what a method means, who the peers are, which channels are open.  That is asked of the two
kinds of callbacks below.

How a decision is asked for
    A *route* is a callable ``(octets, start, end, channel) -> destination | None`` for a common method.  It
    may look at the frame ``octets[start:end]`` and may patch the same octets in `Scanner.patchable`, but
    must emit nothing in this direction.  It answers with the destination of the frame and of the content
    behind it, or with None: "not a common case".
    Everything else goes to ``method(index, channel, frame) -> destination | None | STALL`` with the frame
    as octets of its own.  Runs are flushed before, so it may emit in any order; it forwards the frame itself.
    What it returns is only where content behind the frame goes.  `STALL` leaves the frame and all that
    follows unread until `resume`.

A destination is anything with ``append(octets)``: a list most of the time, `DISCARD` for nowhere.  What is appended is
bytes, a memoryview on them, or a bytearray where routes patch.

Source: AMQP 0-9-1 sections 2.3.5 (framing) and 4.2 (wire-level format, content order).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from struct import Struct
from typing import Any, Final, Protocol

from trabbits.wire.constants import (
    BASIC_DELIVER,
    BASIC_GET_OK,
    BASIC_PUBLISH,
    BASIC_RETURN,
    COMMAND_INVALID,
    FRAME_BODY,
    FRAME_END,
    FRAME_ERROR,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD,
)
from trabbits.wire.content import body_size, body_too_long, content_out_of_order, method_in_content
from trabbits.wire.errors import Violation


class Destination(Protocol):
    """Where a run goes."""

    def append(self, octets: bytes, /) -> Any: ...


Route = Callable[[bytes, int, int, int], "Destination | None"]

#: One common method in a chunk: start, end, class and method id, destination (true where there is one only).
Mark = tuple[int, int, int, Any]

#: The destination of frames that nobody shall see.
DISCARD: Final[Destination] = deque(maxlen=0)


class _Stall:
    """The type of `STALL`."""

    def append(self, octets: bytes, /) -> None:
        raise AssertionError("nothing may be sent to STALL")


#: The answer of a ``method`` callback that cannot take the frame yet.
STALL: Final = _Stall()

CARRYING: Final[frozenset[int]] = frozenset({BASIC_PUBLISH, BASIC_RETURN, BASIC_DELIVER, BASIC_GET_OK})

_SIZE = Struct(">I").unpack_from
_HEAD = Struct(">BHI").unpack_from
_HEAD_AND_INDEX = Struct(">BHII").unpack_from
_HEAD_AND_SIZE = Struct(">BHIIQ").unpack_from


class Marks:
    """Where the common methods of a walk stand in its octets: a sequence of `Mark`, made only when somebody looks.

    `starts` are where their frames begin, `kinds` their class and method ids.  Destinations are known of scanners that
    patch, where they differ.
    """

    __slots__ = ("_goals", "_octets", "kinds", "starts")

    def __init__(
        self, octets: bytes, starts: Sequence[int], kinds: Sequence[int], goals: Sequence[Destination] = ()
    ) -> None:
        self._octets = octets
        self.starts = starts
        self.kinds = kinds
        self._goals = goals

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Mark]:
        goals: Iterable[Any] = self._goals or repeat(True)
        for start, kind, to in zip(self.starts, self.kinds, goals, strict=False):
            size: int = _SIZE(self._octets, start + 3)[0]
            yield start, start + size + 8, kind, to

    def last(self, count: int) -> Marks:
        """The last ones."""
        return Marks(self._octets, self.starts[-count:], self.kinds[-count:], self._goals[-count:])


Observe = Callable[[bytes, Any, list[int], list[int], list[Destination]], None]


class Content:
    """The content in progress on one channel: what is still to come and where it goes."""

    __slots__ = ("decide", "destination", "done", "left")

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        #: Octets of body to come; -1 while the content header is awaited.
        self.left = -1
        #: Called once with the content header frame, before it goes anywhere: says where it goes, and all behind it.
        #: As ``method`` it may emit and raise, and is heard before any other frame is looked at.
        self.decide: Callable[[bytes], Destination] | None = None
        #: Called once when the last octet was appended to the destination.
        self.done: Callable[[], None] | None = None


class Scanner:
    """Walks the octets of one peer.

    `frame_max` counts the framing.  `carrying` holds the routes of methods with content, `bare` those of
    methods without.  Give `patching` when routes patch octets in place.  Every callback may be exchanged
    between two frames.  After a `Violation` the scanner is of no further use, but for `take_rest`: the
    octets from the offending frame on.
    """

    __slots__ = (
        "_have",
        "_need",
        "_parts",
        "_payload_max",
        "_stopped",
        "bare",
        "began",
        "carrying",
        "contents",
        "forwarded",
        "frames",
        "method",
        "observe",
        "patchable",
        "patching",
        "stalled",
        "watch",
    )

    def __init__(
        self, frame_max: int, method: Callable[[int, int, bytes], Destination | None], *, patching: bool = False
    ) -> None:
        self._payload_max = frame_max - FRAME_OVERHEAD
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        #: Whether input waits for `resume`.
        self.stalled = False
        self._stopped = False
        self.method = method
        self.carrying: Mapping[int, Route] = {}
        self.bare: Mapping[int, Route] = {}
        #: Called with (channel, content) when a message was not whole in one chunk.
        self.began: Callable[[int, Content], None] | None = None
        #: Called with the octets of each walk before it begins.
        self.watch: Callable[[bytes], None] | None = None
        #: Called with the octets of a walk, what went out of them and what `Marks` is made of.
        self.observe: Observe | None = None
        self.contents: dict[int, Content] = {}
        self.patching = patching
        self.patchable: bytearray = bytearray()
        #: Frames seen so far.
        self.frames = 0
        #: Frames among them that went on by themselves, as what a route or ``method`` answered.
        self.forwarded = 0

    @property
    def frame_max(self) -> int:
        return self._payload_max + FRAME_OVERHEAD

    @frame_max.setter
    def frame_max(self, value: int) -> None:
        self._payload_max = value - FRAME_OVERHEAD

    @property
    def pending(self) -> int:
        """Octets held: an unfinished frame, or everything since a stall."""
        return sum(map(len, self._parts))

    def stop(self) -> None:
        """Ignore everything from the next frame on; what is not scanned yet is left for `take_rest`."""
        self._stopped = True

    def mute(self) -> None:
        """Forward nothing more: only ``method`` still hears of frames."""
        self.carrying = {}
        self.bare = {}
        for content in self.contents.values():
            content.destination = DISCARD
            content.decide = content.done = None

    def resume(self) -> None:
        """Take up scanning after a stall; may raise `Violation` or stall again."""
        if self.stalled:
            self.stalled = False
            rest = b"".join(self._parts)
            self._parts.clear()
            self._walk(rest, 0)

    def feed(self, octets: bytes) -> None:
        """Scan a chunk as received.  Raises `Violation` after everything sound before it went its way."""
        stopped = self._stopped
        if stopped:
            return
        parts = self._parts
        start = 0
        while parts:
            # An unfinished frame gets what it lacks; the chunk itself is walked where it stands, not copied behind it.
            lacking = max(0, self._need - self._have)
            if self.stalled or self._stopped or len(octets) - start < lacking:
                parts.append(octets[start:])
                self._have += len(octets) - start
                return
            parts.append(octets[start : start + lacking])
            start += lacking
            whole = b"".join(parts)
            parts.clear()
            try:
                self._walk(whole, 0)
            except Exception:
                # The rest of the chunk belongs to what `take_rest` hands over.
                parts.append(octets[start:])
                self._have += len(octets) - start
                raise
        if not self._stopped:
            self._walk(octets, start)
        elif start < len(octets):
            parts.append(octets[start:])

    def take_rest(self) -> bytes:
        """Hand over the octets not scanned yet, from a whole frame's start on; the scanner forgets them."""
        rest = b"".join(self._parts)
        self._parts.clear()
        self._have = 0
        self.stalled = False
        return rest

    def _walk(self, octets: bytes, start: int) -> None:  # noqa: C901, PLR0912, PLR0915 - one loop, unrolled on purpose: the hot path
        """Walk whole frames from `start` on; keep what is left over."""
        if self.watch is not None:
            self.watch(octets)
        out: Any = memoryview(octets)
        patching = self.patching
        if patching:
            out = self.patchable = bytearray(octets)
        contents = self.contents
        carrying = self.carrying.get
        bare = self.bare.get
        payload_max = self._payload_max
        end = len(octets)
        pos = run = start
        frames = 0
        own = 0
        marks: list[int] = []
        kinds: list[int] = []
        goals: list[Destination] = []
        mark, kind_is, goes_to = marks.append, kinds.append, goals.append
        to: Destination = DISCARD
        need = 7
        try:
            while True:
                left = end - pos
                if left < 11:
                    need = 7
                    if left < 7:
                        break
                    kind, channel, size = _HEAD(octets, pos)
                    index = 0
                else:
                    kind, channel, size, index = _HEAD_AND_INDEX(octets, pos)
                after = pos + size + 8
                if after > end:
                    self._check_head(kind, channel, size)
                    need = size + 8
                    break
                if octets[after - 1] != FRAME_END or size > payload_max:
                    self._refuse(octets, pos, kind, channel, size)
                frames += 1

                if kind == FRAME_METHOD:
                    if contents and channel in contents:
                        raise method_in_content(channel, contents[channel].left)
                    destination: Destination | None
                    route = carrying(index)
                    if route is not None and (destination := route(octets, pos, after, channel)) is not None:
                        mark(pos)
                        kind_is(index)
                        if patching:
                            goes_to(destination)
                        if destination is not to:
                            if pos > run:
                                to.append(out[run:pos])
                                run = pos
                            to = destination
                        pos = after
                        # The common case: header and one body frame stand right behind, whole.
                        if end - pos >= 19:
                            kind, channel2, size, ids, body = _HEAD_AND_SIZE(octets, pos)
                            after = pos + size + 8
                            if (
                                kind == FRAME_HEADER
                                and channel2 == channel
                                and ids == 0x003C0000
                                and 14 <= size <= payload_max
                                and after <= end
                                and octets[after - 1] == FRAME_END
                            ):
                                if not body:
                                    frames += 1
                                    pos = after
                                    continue
                                pos2 = after + body + 8
                                if pos2 <= end and body <= payload_max and octets[pos2 - 1] == FRAME_END:
                                    kind, channel2, size = _HEAD(octets, after)
                                    if kind == FRAME_BODY and channel2 == channel and size == body:
                                        frames += 2
                                        pos = pos2
                                        continue
                        self._begin(channel, destination)
                        continue
                    route = bare(index)
                    if route is not None and (destination := route(octets, pos, after, channel)) is not None:
                        mark(pos)
                        kind_is(index)
                        if patching:
                            goes_to(destination)
                        if destination is not to:
                            if pos > run:
                                to.append(out[run:pos])
                                run = pos
                            to = destination
                        pos = after
                        continue
                    if pos > run:
                        to.append(out[run:pos])
                        run = pos
                    if marks:
                        if self.observe is not None:
                            self.observe(octets, out, marks, kinds, goals)
                        marks, kinds, goals = [], [], []
                        mark, kind_is, goes_to = marks.append, kinds.append, goals.append
                    if size < 4:
                        raise Violation(FRAME_ERROR, f"method frame of {size} octets has no method id", channel=channel)
                    destination = self.method(index, channel, octets[pos:after])
                    if destination is STALL:
                        self.stalled = True
                        frames -= 1
                        break
                    own += 1
                    run = pos = after
                    to = DISCARD
                    if self._stopped:
                        break
                    if index in CARRYING:
                        self._begin(channel, DISCARD if destination is None else destination)
                    carrying = self.carrying.get
                    bare = self.bare.get
                    payload_max = self._payload_max

                elif kind == FRAME_HEADER or kind == FRAME_BODY:  # noqa: PLR1714, SIM109 - faster than a tuple
                    content = contents.get(channel)
                    if content is None or (content.left < 0) != (kind == FRAME_HEADER):
                        raise content_out_of_order(channel, kind, None if content is None else content.left)
                    if kind == FRAME_HEADER:
                        body = body_size(octets, pos, size, channel)
                        if content.decide is not None:
                            if pos > run:
                                to.append(out[run:pos])
                                run = pos
                            content.destination = content.decide(octets[pos:after])
                        content.left = body
                    elif size > content.left:
                        raise body_too_long(channel, size - content.left)
                    else:
                        content.left -= size
                    if content.destination is not to:
                        if pos > run:
                            to.append(out[run:pos])
                            run = pos
                        to = content.destination
                    if to is DISCARD:
                        own += 1
                    pos = after
                    if not content.left:
                        del contents[channel]
                        if content.done is not None:
                            to.append(out[run:pos])
                            run = pos
                            to = DISCARD
                            content.done()

                else:
                    self._check_head(kind, channel, size)  # a heartbeat, or it raises
                    own += 1
                    if pos > run:
                        to.append(out[run:pos])
                    run = pos = after
        except Exception:
            # Whose fault it is does not matter here: `take_rest` begins with the frame that was too much.
            self._parts.append(octets[pos:])
            self._have, self._need = end - pos, 0
            raise
        finally:
            self.frames += frames
            self.forwarded += frames - own
            if marks and self.observe is not None:
                self.observe(octets, out, marks, kinds, goals)
            if pos > run:
                whole = run == 0 and pos == end
                to.append(octets if whole and not self.patching else out[run:pos])
        if pos != end:
            self._parts.append(octets[pos:])
            self._have = end - pos
            self._need = need

    def _begin(self, channel: int, destination: Destination) -> None:
        content = self.contents[channel] = Content(destination)
        if self.began is not None:
            self.began(channel, content)

    def _check_head(self, kind: int, channel: int, size: int) -> None:
        """Refuse, from its head alone, a frame that cannot be good: nothing waits for its payload."""
        if kind not in (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT):
            raise Violation(FRAME_ERROR, f"unknown frame type {kind}", channel=channel)
        if size > self._payload_max:
            raise Violation(
                FRAME_ERROR,
                f"frame of {size + FRAME_OVERHEAD} octets on channel {channel} is larger than the negotiated "
                f"frame_max of {self.frame_max}",
                channel=channel,
            )
        if kind == FRAME_HEARTBEAT and channel:
            raise Violation(COMMAND_INVALID, f"heartbeat on channel {channel}, must be channel 0", channel=channel)
        if kind == FRAME_HEARTBEAT and size:
            raise Violation(FRAME_ERROR, f"heartbeat with a payload of {size} octets, must be empty")

    def _refuse(self, octets: bytes, pos: int, kind: int, channel: int, size: int) -> None:
        self._check_head(kind, channel, size)
        found = octets[pos + size + 7]
        raise Violation(
            FRAME_ERROR,
            f"frame on channel {channel} ends with octet {found:#04x}, expected {FRAME_END:#04x}",
            channel=channel,
        )
