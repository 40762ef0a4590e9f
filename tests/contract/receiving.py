"""Receiving with pika: collecting deliveries, and knowing that nothing more is coming."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection


def pump(connection: BlockingConnection, until: Callable[[], Any], within: float = 10.0, what: str = "") -> None:
    """Lets pika work until `until` is true; AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not until():
        assert time.monotonic() < deadline, f"not within {within} s: {what or until}"
        connection.process_data_events(time_limit=0.05)


@frozen
class Delivery:
    """What a consumer was given."""

    channel: BlockingChannel
    method: Any
    properties: Any
    body: bytes

    @property
    def tag(self) -> int:
        return int(self.method.delivery_tag)

    def ack(self, multiple: bool = False) -> None:
        self.channel.basic_ack(self.tag, multiple=multiple)

    def nack(self, multiple: bool = False, requeue: bool = True) -> None:
        self.channel.basic_nack(self.tag, multiple=multiple, requeue=requeue)


@define
class Inbox:
    """A pika consumer that keeps what it gets."""

    deliveries: list[Delivery] = field(factory=list)
    consumer_tag: str = ""
    _connection: Any = None

    @classmethod
    def consuming(cls, channel: BlockingChannel, queue: str, **options: Any) -> Inbox:
        """A consumer on `queue`, running."""
        inbox = cls()
        inbox.attend(channel, queue, **options)
        return inbox

    def attend(self, channel: BlockingChannel, queue: str, **options: Any) -> str:
        """Also consume from `queue`; the consumer tag."""
        self._connection = channel.connection
        self.consumer_tag = channel.basic_consume(queue, self._receive, **options)
        return self.consumer_tag

    def wait_for(self, count: int, within: float = 10.0) -> list[Delivery]:
        """Waits until at least `count` deliveries are here."""
        pump(
            self._connection,
            lambda: len(self.deliveries) >= count,
            within,
            f"{count} deliveries, have {len(self.deliveries)}",
        )
        return self.deliveries

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    @property
    def tags(self) -> list[int]:
        return [delivery.tag for delivery in self.deliveries]

    def _receive(self, channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        self.deliveries.append(Delivery(channel, method, properties, body))


def barrier(channel: BlockingChannel, queue: str) -> None:
    """Whatever the broker has to say on `channel` about `queue` has been received when this returns.

    A passive declare asks the queue's process after everything the channel sent it before; what the queue
    answered to that is handled by the channel before the next request.  The third is for the prefetch
    limiter, one more process in between.
    """
    for _ in range(3):
        channel.queue_declare(queue, passive=True)
    channel.connection.process_data_events(time_limit=0)
