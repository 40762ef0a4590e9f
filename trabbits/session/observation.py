"""What can be seen of a session from outside: how often each method passed, and the last ones of them.

Lives here: `Observation`, fed by the scanners (common methods, a chunk at a time) and by whoever sends or takes a frame
of its own; `MethodEvent`, one method as an onlooker sees it.  Must not know: who looks.

Nothing is decoded before somebody asks.  Small chunks are kept as they came, of larger ones only the method frames; so
a session keeps a few dozen KiB; with huge methods some hundred, and a tenth of that when it has gone.  Bodies are never
shown, and frames with secrets are kept without arguments.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Any, Final

from attrs import frozen

from trabbits.wire import constants as amqp
from trabbits.wire.decode import decode_method
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS, name_of
from trabbits.wire.scanner import DISCARD, STALL, Destination, Marks, Observe

#: Methods that a session remembers.
KEPT: Final = 100
#: Octets of a chunk per method in it, up to which the chunk is kept whole: cheaper than to cut it.
_WHOLE_CHUNK: Final = 256
#: Of a method frame with more octets the head is kept: here, and when the session has gone.
_FRAME_MAX: Final = 4096
_DEPARTED_FRAME_MAX: Final = 512
_HEAD: Final = 11
_CHANNEL = Struct(">H").unpack_from
_INDEX = Struct(">I").unpack_from

#: Their arguments are secrets, or hold some.
SECRET_METHODS: Final = frozenset({amqp.CONNECTION_START_OK, amqp.CONNECTION_SECURE_OK, amqp.CONNECTION_UPDATE_SECRET})

CLIENT_TO_PROXY: Final = "c→t"
PROXY_TO_UPSTREAM: Final = "t→u"
UPSTREAM_TO_PROXY: Final = "u→t"
PROXY_TO_CLIENT: Final = "t→c"


@frozen
class MethodEvent:
    """One method on its way.  `time` is in seconds since the epoch, `upstream` a name or empty, `method` such as
    ``Basic.Publish``; `arguments` are decoded, without secrets."""

    time: float
    direction: str
    upstream: str
    channel: int
    method: str
    arguments: dict[str, Any]


class HeldOctets(list[bytes]):
    """A destination that is not the client yet."""

    __slots__ = ()


#: Start, end, class and method id, and where to: a name, None for nowhere, anything else where there is one way.
_Mark = tuple[int, int, int, Any]
#: What is kept of one walk: when, by whom, the octets, the octets that went out if they differ, the marks.
_Marks = Marks | Sequence[_Mark]
_Entry = tuple[float, "Tap", bytes, bytes | bytearray | None, _Marks]


class Observation:
    """One session's.  `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        #: Frames that were made for the client, not passed on; what is held back for it counts.
        self.own_frames = 0
        #: Events that nobody will see: of a chunk with very many methods the last ones are kept.
        self.skipped = 0
        #: Methods of the client that a channel or the connection was closed for, by class and method id; 0 for others.
        self.errored: dict[int, int] = {}
        self._recent: deque[_Entry] = deque()
        self._kept = 0
        self._watchers: list[Callable[[list[MethodEvent]], None]] = []
        #: What watchers hear when it is clear whether the client's frame was taken; None when nothing is unclear.
        self._untold: list[list[MethodEvent]] | None = None
        #: Whether the client's chunk holds a secret: then none of it is kept but methods.  Ended by the next chunk.
        self.discreet = False
        self._to_client = Tap(self, PROXY_TO_CLIENT)
        self._from_client = Tap(self, CLIENT_TO_PROXY)
        #: What is seen of the client's methods.
        self._client_taps = [self._to_client, self._from_client]
        self._to_link: dict[str, Tap] = {}
        self._from_link: dict[str, Tap] = {}

    # Who reports

    def client_tap(
        self, onward_upstream: str = "", labels: Callable[[Destination], str | None] | None = None
    ) -> Observe:
        """For the scanner of the client: its common methods go on to this upstream, or where `labels` says."""
        tap = Tap(self, CLIENT_TO_PROXY, onward=PROXY_TO_UPSTREAM, onward_upstream=onward_upstream, labels=labels)
        self._client_taps.append(tap)
        return tap.observe

    def link_tap(self, upstream: str, labels: Callable[[Destination], str | None] | None = None) -> Observe:
        """For the scanner of a link: its common methods go on to the client, if `labels` does not say otherwise."""
        tap = Tap(self, UPSTREAM_TO_PROXY, upstream, onward=PROXY_TO_CLIENT, labels=labels)
        self._client_taps.append(tap)
        return tap.observe

    def taken_from_client(self, index: int, frame: bytes) -> None:
        """A frame that the session takes for itself, or passes on by `sent_to_link`."""
        if index in SECRET_METHODS:
            # The beginning of the frame may have come with another chunk.
            self._condense(_FRAME_MAX)
            self.discreet = True
        self._from_client.note(index, frame)

    def taking(self, index: int, frame: bytes, take: Callable[[], Destination | None]) -> Destination | None:
        """The same for a frame that `take` may leave where it is (`STALL`): then it was not there yet."""
        self._untold = []
        try:
            self.taken_from_client(index, frame)
            destination = take()
            if destination is STALL:
                self._put_back(index)
        finally:
            untold, self._untold = self._untold, None
            for events in untold:
                self._tell(events)
        return destination

    def _put_back(self, index: int) -> None:
        self._from_client.counts[index] -= 1
        if self._untold:
            del self._untold[0]
        for at in range(len(self._recent) - 1, -1, -1):
            if self._recent[at][1] is self._from_client:
                del self._recent[at]
                self._kept -= 1
                return

    def sent_to_client(self, frame: bytes) -> None:
        """A whole frame made for the client; one of a method, or a heartbeat."""
        self.own_frames += 1
        if frame[0] != amqp.FRAME_METHOD:
            return
        index: int = _INDEX(frame, 7)[0]
        self._to_client.note(index, frame)
        if index in (amqp.CHANNEL_CLOSE, amqp.CONNECTION_CLOSE):
            # Both end with the class and method that failed.
            failed: int = _INDEX(frame, len(frame) - 5)[0]
            self.errored[failed] = self.errored.get(failed, 0) + 1

    def released_to_client(self, frame: bytes) -> None:
        """A method that was held back goes to the client now; its frames were counted as they came."""
        self._to_client.note(_INDEX(frame, 7)[0], frame)

    def taken_from_link(self, upstream: str, index: int, frame: bytes) -> None:
        """A frame of an upstream that does not go on as it is."""
        tap = self._from_link.get(upstream)
        if tap is None:
            tap = self._from_link[upstream] = Tap(self, UPSTREAM_TO_PROXY, upstream)
        tap.note(index, frame)

    def sent_to_link(self, upstream: str, frame: bytes) -> None:
        """A whole method frame made for an upstream."""
        tap = self._to_link.get(upstream)
        if tap is None:
            tap = self._to_link[upstream] = Tap(self, PROXY_TO_UPSTREAM, upstream)
        tap.note(_INDEX(frame, 7)[0], frame)

    def keep(self, entry: _Entry) -> None:
        """Remember, and forget what is too old."""
        recent = self._recent
        recent.append(entry)
        kept = self._kept + len(entry[4])
        while kept - len(recent[0][4]) >= KEPT:
            kept -= len(recent.popleft()[4])
        self._kept = kept
        if self._watchers:
            events = list(entry[1].events(entry))
            if self._untold is None:
                self._tell(events)
            else:
                self._untold.append(events)

    def _tell(self, events: list[MethodEvent]) -> None:
        for watcher in list(self._watchers):
            watcher(events)

    def condense(self) -> None:
        """The session is over: keep no octets of chunks but the methods, of large ones less, and no watchers."""
        self._watchers.clear()
        self._condense(_DEPARTED_FRAME_MAX)

    def _condense(self, frame_max: int) -> None:
        self._recent = deque(entry[1].condensed(entry, frame_max) for entry in self._recent)

    # What is asked

    def events(self) -> list[MethodEvent]:
        """The last methods, oldest first; at most `KEPT`."""
        return [event for entry in self._recent for event in entry[1].events(entry)][-KEPT:]

    def watch(self, watcher: Callable[[list[MethodEvent]], None]) -> Callable[[], None]:
        """Tell `watcher` of everything from now on, a chunk at a time; returns how to end it.  It must not raise."""
        self._watchers.append(watcher)

        def stop() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return stop

    def methods(self) -> dict[int, int]:
        """How many methods were exchanged with the client, either way, by class and method id."""
        total: Counter[int] = Counter()
        for tap in self._client_taps:
            total.update(tap.counts)
        return {index: count for index, count in total.items() if count}

    def publishes(self) -> dict[str, int]:
        """Messages that went to each upstream."""
        total: Counter[str] = Counter()
        for name, tap in self._to_link.items():
            total[name] += tap.counts.get(amqp.BASIC_PUBLISH, 0)
        for tap in self._client_taps:
            total.update(tap.published())
        return {name: count for name, count in total.items() if count}

    def deliveries(self) -> dict[str, int]:
        """Messages that came from each upstream."""
        total: Counter[str] = Counter()
        for tap in (*self._client_taps, *self._from_link.values()):
            if tap.upstream:
                counts = tap.counts, tap.kept_back
                total[tap.upstream] += sum(
                    count.get(amqp.BASIC_DELIVER, 0) + count.get(amqp.BASIC_GET_OK, 0) for count in counts
                )
        return {name: count for name, count in total.items() if count}


class Tap:
    """One source of methods: `direction` and `upstream` of what comes, `onward` and `onward_upstream` of what goes on.

    Without `onward` nothing does.  Where it depends on the destination, `labels` gives the name of the upstream, empty
    for the client, or None for what goes nowhere now.
    """

    __slots__ = (
        "_direction",
        "_labels",
        "_observation",
        "_onward",
        "_onward_upstream",
        "_published",
        "counts",
        "kept_back",
        "upstream",
    )

    def __init__(
        self,
        observation: Observation,
        direction: str,
        upstream: str = "",
        *,
        onward: str = "",
        onward_upstream: str = "",
        labels: Callable[[Destination], str | None] | None = None,
    ) -> None:
        self._observation = observation
        self._direction = direction
        self.upstream = upstream
        self._onward = onward
        self._onward_upstream = onward_upstream
        self._labels = labels
        #: Methods seen, by class and method id, but for those `kept_back` from where they were meant to go.
        self.counts: dict[int, int] = {}
        self.kept_back: dict[int, int] = {}
        self._published: dict[str, int] = {}

    def observe(
        self, octets: bytes, out: Any, starts: list[int], kinds: list[int], goals: Sequence[Destination] = ()
    ) -> None:
        """The scanner's report of one walk; see `trabbits.wire.scanner.Scanner.observe`."""
        counts = self.counts
        if len(kinds) == 1 and self._labels is None:
            # The common case of round trips and of large messages.
            start = starts[0]
            size: int = _INDEX(octets, start + 3)[0] + 8
            self.note(kinds[0], octets[start : start + size], onward=True)
            return
        marks = Marks(octets, starts, kinds, goals)
        for index in set(kinds):
            counts[index] = counts.get(index, 0) + kinds.count(index)
        kept: _Marks = marks
        if self._labels is not None:
            kept = self._labelled(marks, self._labels)
        if len(kept) > KEPT:
            self._observation.skipped += (len(kept) - KEPT) * (2 if self._onward else 1)
            kept = kept[-KEPT:] if isinstance(kept, list) else marks.last(KEPT)
        # Routes patch within their walk only: nothing of it changes any more.
        observation = self._observation
        entry = (observation.clock(), self, octets, out if type(out) is bytearray else None, kept)
        whole = len(octets) <= _WHOLE_CHUNK * len(kinds) and not observation.discreet
        observation.keep(entry if whole else self.condensed(entry))

    def condensed(self, entry: _Entry, frame_max: int = _FRAME_MAX) -> _Entry:
        """The same entry with the octets of its methods only, and the heads only of those that are too large."""
        time, _, octets, out, kept = entry
        patched = out is not None
        if len(kept) == 1 and not patched:
            start, end, index, label = next(iter(kept))
            frame = octets[start:end] if end - start <= frame_max else octets[start : start + _HEAD]
            return time, self, frame, None, ((0, len(frame), index, _name(label)),)
        pieces, changed, moved, at = [], [], [], 0
        for start, end, index, label in kept:
            stop = end if end - start <= frame_max else start + _HEAD
            pieces.append(octets[start:stop])
            if out is not None:
                changed.append(out[start:stop])
            moved.append((at, at + stop - start, index, _name(label)))
            at += stop - start
        return time, self, b"".join(pieces), b"".join(changed) if patched else None, moved

    def _labelled(self, marks: Marks, labels: Callable[[Destination], str | None]) -> list[_Mark]:
        kept = []
        for start, end, index, to in marks:
            label = labels(to)
            if label is None:
                self.counts[index] -= 1
                self.kept_back[index] = self.kept_back.get(index, 0) + 1
            elif index == amqp.BASIC_PUBLISH:
                self._published[label] = self._published.get(label, 0) + 1
            kept.append((start, end, index, label))
        return kept

    def note(self, index: int, frame: bytes, *, onward: bool | None = None) -> None:
        """One frame by itself; `onward`: it is passed on as it is."""
        counts = self.counts
        counts[index] = counts.get(index, 0) + 1
        size = len(frame)
        if size > _FRAME_MAX or index in SECRET_METHODS:
            frame = frame[:_HEAD]
            size = _HEAD
        observation = self._observation
        observation.keep((observation.clock(), self, frame, None, ((0, size, index, onward),)))

    def published(self) -> dict[str, int]:
        """Common publishes passed on, by upstream."""
        if self._labels is None and self._onward_upstream:
            return {self._onward_upstream: self.counts.get(amqp.BASIC_PUBLISH, 0)}
        return self._published

    def events(self, entry: _Entry) -> Iterator[MethodEvent]:
        """What an entry of this tap says."""
        time, _, octets, out, marks = entry
        for start, end, index, label in marks:
            frame = octets[start:end]
            yield _event(time, self._direction, self.upstream, index, frame)
            if self._onward and label is not None:
                upstream = label if isinstance(label, str) else self._onward_upstream
                changed = frame if out is None else bytes(out[start:end])
                yield _event(time, self._onward, upstream, index, changed)


def _name(label: Any) -> str | bool | None:
    """A label without what it may refer to."""
    return label if label is None or isinstance(label, str) else True


def not_held(destination: Destination) -> str | None:
    """A label for what links send: None when it does not reach the client now."""
    return None if destination is DISCARD or isinstance(destination, HeldOctets) else ""


def _event(time: float, direction: str, upstream: str, index: int, frame: bytes) -> MethodEvent:
    info = METHODS.get(index)
    method = name_of(index) if info is None else str(info.frame_class.name)
    return MethodEvent(time, direction, upstream, _CHANNEL(frame, 1)[0], method, _arguments(index, frame))


def _arguments(index: int, frame: bytes) -> dict[str, Any]:
    if index in SECRET_METHODS:
        return {"hidden": "holds credentials"}
    if int.from_bytes(frame[3:7], "big") + 8 != len(frame):
        return {"omitted": f"{int.from_bytes(frame[3:7], 'big')} octets"}
    info = METHODS.get(index)
    try:
        method = decode_method(frame)
    except Violation:
        return {"undecodable": frame[_HEAD:-1].hex()}
    assert info is not None
    return {
        name: getattr(method, name) for name, _ in info.fields if not name.startswith("reserved") and name != "ticket"
    }
