"""Taking turns on one channel of the client, so that the frames of one message stay together.

AMQP allows no other frame of the same channel between a method and the end of its content (section 4.2.6), and
several links may deliver on one channel at once.  While a message of one source is under way and not whole yet, what
other sources have for this channel waits, in order per source.

Lives here: who may write, and what waits.  Must not know: what the frames mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from trabbits.wire.scanner import Content, Destination

#: The source of frames that trabbits makes itself, always whole.
PROXY: Final = object()


class _Segment:
    """Frames of one source that wait."""

    __slots__ = ("content", "octets", "source")

    def __init__(self, source: object) -> None:
        self.source = source
        self.octets: list[bytes] = []
        self.content: Content | None = None

    def whole(self) -> None:
        """The message it ends with is not under way any more."""
        self.content = None


class Turns:
    """One channel of the client.  `out` is where its octets go, `contended` is told when something begins to wait."""

    __slots__ = ("_contended", "_out", "_waiting", "occupant")

    def __init__(self, out: list[bytes], contended: Callable[[Turns], None]) -> None:
        self._out = out
        self._contended = contended
        self._waiting: deque[_Segment] = deque()
        #: The source whose message is under way, None when anyone may write.
        self.occupant: object | None = None

    @property
    def waiting_octets(self) -> int:
        """How much waits, in octets."""
        return sum(len(octets) for segment in self._waiting for octets in segment.octets)

    def destination(self, source: object) -> list[bytes]:
        """Where frames of this source go now."""
        if self.occupant is None or self.occupant is source:
            return self._out
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.source is not source or last.content is not None:
            # A message under way is the last thing of its segment: what follows it is a segment of its own.
            last = _Segment(source)
            self._waiting.append(last)
            self._contended(self)
        return last.octets

    def began(self, source: object, content: Content, destination: Destination) -> None:
        """A message of this source was not whole: it holds the channel until it is."""
        if destination is self._out:
            self.occupant = source
            content.done = self._release
            return
        for segment in reversed(self._waiting):
            if segment.octets is destination:
                segment.content = content
                content.done = segment.whole
                return

    def _release(self) -> None:
        """The occupant's message is whole: whoever waits comes next."""
        self.occupant = None
        while self._waiting:
            segment = self._waiting.popleft()
            self._out.extend(segment.octets)
            if segment.content is not None:
                segment.content.destination = self._out
                segment.content.done = self._release
                self.occupant = segment.source
                return
