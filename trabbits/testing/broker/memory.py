"""How much the broker holds for clients, and the alarm when that is too much.

Lives here: `Memory`.  Must not know: queues, transactions, connections.

Source: https://www.rabbitmq.com/docs/alarms (publishers are held up, consumers go on).
"""

from __future__ import annotations

from collections.abc import Callable


class Memory:
    """Octets of all messages that are held.  `alarm` is called when they exceed `limit`, `over` when no longer."""

    __slots__ = ("alarm", "high", "limit", "over", "used")

    def __init__(self, limit: int, alarm: Callable[[], None], over: Callable[[], None]) -> None:
        self.limit = limit
        self.used = 0
        self.high = False
        self.alarm = alarm
        self.over = over

    def check(self) -> bool:
        """Notice what has changed; whether something has."""
        changed = (self.used > self.limit) != self.high
        if changed:
            self.high = not self.high
            (self.alarm if self.high else self.over)()
        return changed
