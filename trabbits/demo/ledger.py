"""What becomes of one application's messages.

Lives here: `Ledger`: each message has a number, and whether it was sent, confirmed and received is written down.
Must not know: AMQP, the network, the time of day.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

#: Seconds after its confirm at which a message that has not been received counts as lost.
LOST_AFTER: Final = 5.0
#: Messages on their way at most; beyond, nothing is published until some have arrived.
UNDER_WAY_MAX: Final = 1000


class Ledger:
    """One application's messages, numbered from 1.

    `sent`, `confirmed` and `received` count messages, each once; `repeated` counts deliveries of messages that were
    received before.
    """

    def __init__(self, application: str, clock: Callable[[], float]) -> None:
        self.application = application
        self.sent = self.confirmed = self.received = self.repeated = 0
        self._clock = clock
        #: Numbers of messages that were not confirmed yet.
        self._unconfirmed: dict[int, None] = {}
        #: Numbers of messages that were not received yet, with the time of the confirm.
        self._missing: dict[int, float | None] = {}

    @property
    def full(self) -> bool:
        """Whether so much is on its way that publishing has to wait."""
        return max(len(self._missing), len(self._unconfirmed)) >= UNDER_WAY_MAX

    @property
    def settled(self) -> bool:
        """Whether every message was confirmed and received."""
        return not self._missing and not self._unconfirmed

    @property
    def lost(self) -> int:
        """Messages that were confirmed `LOST_AFTER` seconds ago or longer and have not been received."""
        latest = self._clock() - LOST_AFTER
        return sum(confirmed is not None and confirmed <= latest for confirmed in self._missing.values())

    @property
    def overdue(self) -> int:
        """Messages that were confirmed and have not been received, however long ago: what is lost at the end."""
        return sum(confirmed is not None for confirmed in self._missing.values())

    def send(self) -> int:
        """The number of a new message."""
        self.sent += 1
        self._unconfirmed[self.sent] = None
        self._missing[self.sent] = None
        return self.sent

    def confirm(self, number: int) -> None:
        """The broker has taken a message over."""
        if number in self._unconfirmed:
            del self._unconfirmed[number]
            self.confirmed += 1
            if number in self._missing:
                self._missing[number] = self._clock()

    def receive(self, body: bytes) -> None:
        """A message has come; those of others are passed over."""
        number = self.number_of(body)
        if number is None or number > self.sent:
            return
        if number in self._missing:
            del self._missing[number]
            self.received += 1
        else:
            self.repeated += 1

    def to_repeat(self) -> list[int]:
        """What has to be published again after a connection that owed confirms.

        What has arrived without one is done with: it stays unconfirmed.
        """
        self._unconfirmed = {number: None for number in self._unconfirmed if number in self._missing}
        return list(self._unconfirmed)

    def body(self, number: int) -> bytes:
        """A message's body."""
        return json.dumps({self.application: number}).encode()

    def number_of(self, body: bytes) -> int | None:
        """The number of the message with this body; None if it is none of this application's."""
        try:
            content = json.loads(body)
        except ValueError:
            return None
        number = content.get(self.application) if isinstance(content, dict) else None
        return number if isinstance(number, int) and number > 0 else None
