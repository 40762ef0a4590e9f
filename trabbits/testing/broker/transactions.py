"""Transactions: publishes and settlements that are held until they are committed.

Lives here: `Transaction`.  Must not know: frames; how a message is routed or settled.

Source: AMQP 0-9-1 section 1.9 (the tx class); https://www.rabbitmq.com/docs/semantics (what RabbitMQ makes of it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trabbits.testing.broker.memory import Memory
from trabbits.testing.broker.message import Message

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Delivery


class Transaction:
    """What a channel has done since tx.select, the last commit or the last rollback.

    `settlements` are (what to do, deliveries by tag).  What is published counts in `memory` while it is held here.
    """

    __slots__ = ("_memory", "_octets", "_publishes", "settlements")

    def __init__(self, memory: Memory) -> None:
        self.settlements: list[tuple[Callable[[list[Delivery]], None], dict[int, Delivery]]] = []
        self._publishes: list[Callable[[], None]] = []
        self._memory = memory
        self._octets = 0

    def publish(self, message: Message, publish: Callable[[], None]) -> None:
        """At commit `publish` is to be called, which holds this message; in order."""
        self._publishes.append(publish)
        self._octets += message.size
        self._memory.used += message.size

    def settled(self) -> dict[int, Delivery]:
        """All deliveries that a commit would settle."""
        return {tag: delivery for _, deliveries in self.settlements for tag, delivery in deliveries.items()}

    def commit(self) -> None:
        publishes, settlements = self._publishes, self.settlements
        self.roll_back()
        for publish in publishes:
            publish()
        for settle, deliveries in settlements:
            settle(list(deliveries.values()))

    def roll_back(self) -> None:
        """Begin anew: publish nothing and settle nothing."""
        self.settlements = []
        self._publishes = []
        self._memory.used -= self._octets
        self._octets = 0
