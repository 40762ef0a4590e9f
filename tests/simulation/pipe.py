"""One direction of a connection: octets on their way.

Lives here: `READ_MAX`, and `Pipe`: what was written and has not arrived, cut into chunks by whoever moves it; full and
drained.
Must not know: what the octets mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Octets that one read of a socket gives at most.
READ_MAX: Final = 65536


def nothing() -> None:
    """What a pipe does that nobody asked for anything."""


class Pipe:
    """`deliver` gets the octets as they arrive, `ended` is called when the end has arrived behind all of them.

    Above `room` octets the writer hears `on_full`, and `on_drained` when nothing is on its way any more: a transport's
    write buffer and its producer.
    """

    __slots__ = (
        "closed", "deliver", "ended", "frozen", "full", "gate", "name", "octets", "on_drained", "on_full", "over",
        "reading", "room",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        deliver: Callable[[bytes], None],
        ended: Callable[[], None],
        *,
        room: int,
        on_full: Callable[[], None] = nothing,
        on_drained: Callable[[], None] = nothing,
        gate: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self.deliver = deliver
        self.ended = ended
        self.room = room
        self.on_full = on_full
        self.on_drained = on_drained
        #: Asked whether the reader takes anything now.
        self.gate = gate
        self.octets = b""
        #: Whether the writer has finished.
        self.closed = False
        #: Whether everything including the end has arrived, or never will.
        self.over = False
        self.reading = True
        #: Whether a fault holds it up.
        self.frozen = False
        self.full = False

    def write(self, octets: bytes) -> None:
        if self.closed or self.over:
            return
        self.octets += octets
        if not self.full and len(self.octets) > self.room:
            self.full = True
            self.on_full()

    def close(self) -> None:
        """Nothing follows."""
        self.closed = True

    def cut(self, upto: int) -> bytes:
        """The connection breaks: only so many octets still arrive."""
        arrives, self.octets = self.octets[:upto], b""
        self.over = True
        return arrives

    @property
    def ready(self) -> bool:
        """Whether something can arrive now."""
        return bool(
            (self.octets or self.closed)
            and self.reading
            and not self.over
            and not self.frozen
            and (self.gate is None or self.gate())
        )

    def move(self, size: int) -> None:
        """So many octets arrive."""
        octets, self.octets = self.octets[:size], self.octets[size:]
        if not self.octets and self.full:
            self.full = False
            self.on_drained()
        if octets:
            self.deliver(octets)
        if self.closed and not self.octets and not self.over:
            self.over = True
            self.ended()
