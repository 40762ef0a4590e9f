"""The names of a session's timers, and the supervision of a client by heartbeats.

Must not know: clocks; surroundings call `Session.timer_fired`.
Source: AMQP 0-9-1 section 4.2.7.
"""

from __future__ import annotations

from typing import Final

HANDSHAKE: Final = "handshake"
CLOSE: Final = "close"
HEARTBEAT: Final = "heartbeat"
PROBE: Final = "probe"
CLEAN_UP: Final = "clean-up"
CLEAN_UP_AGAIN: Final = "clean-up again"

#: A client that is silent for so many half intervals is taken for dead: two intervals.
_SILENT_HALVES: Final = 4


class Supervision:
    """Counts for how long a client has said nothing."""

    __slots__ = ("_silent_halves",)

    def __init__(self) -> None:
        self._silent_halves = 0

    def half_an_interval_passed(self, *, heard: bool, reading: bool) -> bool:
        """Whether the client still counts as alive; one that is not being read is not missed."""
        self._silent_halves = 0 if heard or not reading else self._silent_halves + 1
        return self._silent_halves < _SILENT_HALVES
