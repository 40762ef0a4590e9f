"""Clients that stay for one message: they connect, publish with a confirm, and leave.

Each must be let in at its first attempt. Who is told to leave before the confirm comes again, as any client would.
Must not know: what is done to the proxy meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time

from attrs import define
from pamqp import commands

from tests.operation.connection import TROUBLE, Connection, Left
from tests.operation.ledger import Departure
from tests.operation.load import Load

#: How often a visitor is told to leave before that counts as a failure.
PATIENCE = 5
#: Nobody is added to the stream while so many are under way: a busy machine shall be slow, not swamped.
CROWDED = 50


@define(eq=False)
class Visitors:
    """Visitors of a load's queues: a steady stream, and volleys."""

    _load: Load
    #: How many were served.
    served: int = 0
    #: How many were let in and told to leave before they were served.
    put_off: int = 0
    _sent: int = 0
    _visiting: int = 0
    _coming: bool = True

    @property
    def under_way(self) -> int:
        """How many are not served yet."""
        return self._sent - self.served

    def stream(self, rate: float) -> None:
        """`rate` visitors per second from now on, as far as they can be served."""
        self._load.do(self._begin(rate))

    def volley(self, count: int, seconds: float) -> None:
        """`count` visitors, spread over the next `seconds`; returns at once."""
        self._load.do(self._shoot(count, seconds))

    def stop(self) -> None:
        """No more of them; those that are under way go on."""
        self._coming = False

    async def _begin(self, rate: float) -> None:
        self._load.spawn(self._keep_coming(rate))

    async def _shoot(self, count: int, seconds: float) -> None:
        for number in range(count):
            self._load.spawn(self._visit(seconds * number / count))

    async def _keep_coming(self, rate: float) -> None:
        due = time.monotonic()
        while self._coming:
            due += random.uniform(0.5, 1.5) / rate
            await asyncio.sleep(max(0, due - time.monotonic()))
            if self._visiting < CROWDED:
                self._load.spawn(self._visit(0))

    async def _visit(self, pause: float) -> None:
        self._sent += 1
        body = b"visitor %d" % self._sent
        await asyncio.sleep(pause)
        self._visiting += 1
        try:
            await self._come_and_go(body)
        except TROUBLE as error:
            self._load.ledger.failures.append(f"{body.decode()}: {error!r}")
        finally:
            self._visiting -= 1

    async def _come_and_go(self, body: bytes) -> None:
        ledger = self._load.ledger
        for _ in range(PATIENCE):
            connection = await Connection.open(self._load.port, self._load.vhost)
            ledger.open(connection.seconds_to_connect, connection.seconds_to_open)
            try:
                await self._deliver(connection, body)
            except Left as left:
                self.put_off += 1
                ledger.departures.append(Departure(left.at, left.code, left.text, connection.channel_max))
            else:
                ledger.confirmed.add(body)
                self.served += 1
                await connection.close()
                return
            finally:
                connection.drop()
        raise AssertionError(f"told to leave {PATIENCE} times")

    async def _deliver(self, connection: Connection, body: bytes) -> None:
        connection.send(commands.Channel.Open(), commands.Confirm.Select(), channel=1)
        connection.publish(random.choice(self._load.queues), body)
        for reply in (commands.Channel.OpenOk, commands.Confirm.SelectOk, commands.Basic.Ack):
            await connection.expect(reply)
