"""Direct reply-to: answers that go to a channel without a queue.

Lives here: `ReplyConsumers`, the channels that wait for answers, by the name they are answered under.
Must not know: how an answer is framed.

Source: https://www.rabbitmq.com/docs/direct-reply-to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel

REPLY_TO: Final = "amq.rabbitmq.reply-to"
REPLY_PREFIX: Final = f"{REPLY_TO}."


class ReplyConsumers:
    """Who waits for answers."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}

    def add(self, name: str, channel: Channel) -> None:
        self._channels[name] = channel

    def remove(self, name: str) -> None:
        self._channels.pop(name, None)

    def find(self, name: str) -> Channel | None:
        """The channel that is answered under `name`, while it is there."""
        return self._channels.get(name)
