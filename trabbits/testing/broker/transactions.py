"""Transactions: publishes and settlements that are held until they are committed.

Lives here: `Transaction`.  Must not know: frames; how a message is routed or settled.

Source: AMQP 0-9-1 section 1.9 (the tx class); https://www.rabbitmq.com/docs/semantics (what RabbitMQ makes of it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Delivery


class Transaction:
    """What a channel has done since tx.select, the last commit or the last rollback.

    `publishes` are to be called at commit, in order.  `settlements` are (what to do, deliveries by tag).
    """

    __slots__ = ("publishes", "settlements")

    def __init__(self) -> None:
        self.publishes: list[Callable[[], None]] = []
        self.settlements: list[tuple[Callable[[list[Delivery]], None], dict[int, Delivery]]] = []

    def settled(self) -> dict[int, Delivery]:
        """All deliveries that a commit would settle."""
        return {tag: delivery for _, deliveries in self.settlements for tag, delivery in deliveries.items()}

    def commit(self) -> None:
        publishes, self.publishes = self.publishes, []
        settlements, self.settlements = self.settlements, []
        for publish in publishes:
            publish()
        for settle, deliveries in settlements:
            settle(list(deliveries.values()))
