"""Consumers of a queue.

Lives here: `Consumer` and how much it may hold.  Must not know: how it is told of a message (``channel.py``).

Source: https://www.rabbitmq.com/docs/consumer-prefetch (per consumer, and shared by a channel).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.testing.broker.tables import Table
from trabbits.wire.constants import BASIC_DELIVER

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel
    from trabbits.testing.broker.queue import Queue


class Consumer:
    """One consumer.

    `prefetch` is how many deliveries it may hold unsettled, 0 for any number.  A consumer that can take nothing is
    `waiting`: its queue does not look at it until it is told to.
    """

    __slots__ = (
        "arguments",
        "channel",
        "exclusive",
        "head",
        "no_ack",
        "prefetch",
        "priority",
        "queue",
        "tag",
        "unacked",
        "waiting",
    )

    def __init__(
        self,
        tag: str,
        channel: Channel,
        queue: Queue,
        *,
        no_ack: bool,
        exclusive: bool,
        prefetch: int,
        arguments: Table,
    ) -> None:
        self.tag = tag
        self.channel = channel
        self.queue = queue
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = prefetch
        self.arguments = arguments
        priority = arguments.get("x-priority")
        self.priority: int = priority.value if priority is not None else 0
        #: Deliveries it has not settled.
        self.unacked = 0
        self.waiting = False
        octets = tag.encode("utf-8", "surrogateescape")
        #: A basic.deliver from its method index to its consumer tag.
        self.head = BASIC_DELIVER.to_bytes(4, "big") + bytes((len(octets),)) + octets

    def can_take(self) -> bool:
        """Whether it may be given one more message now."""
        channel = self.channel
        if not channel.connection.taking:
            return False
        if self.no_ack:
            return True
        if self.prefetch and self.unacked >= self.prefetch:
            return False
        return not channel.global_prefetch or channel.held < channel.global_prefetch
