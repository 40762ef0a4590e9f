"""Heartbeats of one connection.

Lives here: `Heartbeats`: one is sent when nothing else was, and a silent client is dropped.
Must not know: frames but its own.

Source: AMQP 0-9-1 section 4.2.7; https://www.rabbitmq.com/docs/heartbeats: two are sent in each interval in which
nothing else is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trabbits.wire.constants import HEARTBEAT_FRAME

if TYPE_CHECKING:
    from trabbits.testing.broker.connection import BrokerConnection

#: Half intervals of silence that are suffered: RabbitMQ notices after two to three intervals.
_SUFFERED: Final = 5


class Heartbeats:
    """Looks at a connection twice in each interval of `interval` seconds."""

    __slots__ = ("_connection", "_silent", "_step", "_timer", "heard", "said")

    def __init__(self, connection: BrokerConnection, interval: int) -> None:
        #: Whether something was received, or sent, since the last look.
        self.heard = False
        self.said = False
        self._connection = connection
        self._step = interval / 2
        self._silent = 0
        self._again()

    def stop(self) -> None:
        self._timer.cancel()

    def _again(self) -> None:
        broker = self._connection.broker
        self._timer = broker.timers.at(broker.clock() + self._step, self._look)

    def _look(self) -> None:
        connection = self._connection
        # A client that is not read from is not missed.
        self._silent = 0 if self.heard or not connection.reading else self._silent + 1
        if self._silent >= _SUFFERED:
            connection.drop()
            return
        if not self.said and not connection.output:
            connection.send(HEARTBEAT_FRAME)
        self.heard = self.said = False
        self._again()
