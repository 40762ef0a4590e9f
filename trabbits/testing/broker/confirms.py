"""Publisher confirms: what is confirmed, in as few frames as possible.

Lives here: `Confirms`.  Must not know: why a message was refused.

Source: https://www.rabbitmq.com/docs/confirms (``multiple``, negative acknowledgements).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.wire.encode import ack_frame, nack_frame

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel


class Confirms:
    """The confirms of one channel; they go out after each read of the client's octets, or when there is a nack."""

    __slots__ = ("_channel", "_confirmed", "published")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        #: How many messages were published.
        self.published = 0
        self._confirmed = 0

    def add(self, taken: bool) -> None:
        """One more message was published; `taken` is False if a queue refused it."""
        if not taken:
            self.flush()
            self._confirmed += 1
        self.published += 1
        if not taken:
            self._channel.connection.send(nack_frame(self._channel.number, self.published, False, False))
        elif self.published == self._confirmed + 1:
            self._channel.connection.confirming.append(self)

    def flush(self) -> None:
        """Confirm all that was published and not confirmed yet."""
        count = self.published - self._confirmed
        if count:
            self._confirmed = self.published
            self._channel.connection.send(ack_frame(self._channel.number, self.published, count > 1))
