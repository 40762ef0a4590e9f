"""A load of clients that live long: each publishes with confirms and consumes, and comes back when it has to leave.

Lives here: the load's thread with its event loop, and the workers.  Must not know: what is done to the proxy meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from attrs import define, field
from pamqp import commands

from tests.operation.connection import TROUBLE, Connection, Left
from tests.operation.ledger import Departure, Ledger
from trabbits.testing.raw_client import BODY, METHOD, Frame

PREFETCH = 20
#: Seconds until a client that had to leave comes back: at random, so that they do not all come at once.
COMEBACK = (0.05, 0.5)
#: Connections that the workers open at once when the load begins.
STARTERS = 10

#: Where the messages go; each queue has several consumers.
QUEUES = tuple(f"load-{number}" for number in range(20))

T = TypeVar("T")


class Load:
    """`workers` clients in one thread; each publishes a message every `period` seconds, on average.

    Example::

        with Load(proxy.port, vhost, workers=300) as load:
            eventually(lambda: load.working == 300)
            ...
            load.finish()
        load.ledger.check([...])
    """

    def __init__(
        self, port: int, vhost: str, workers: int, period: float = 1.0, queues: Sequence[str] = QUEUES
    ) -> None:
        self.port = port
        self.vhost = vhost
        self.period = period
        self.ledger = Ledger()
        self.queues = queues
        self.publishing = True
        self._starters = asyncio.Semaphore(STARTERS)
        self._workers = [Worker(self, number, queues[number % len(queues)]) for number in range(workers)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def working(self) -> int:
        """How many workers are connected and consume."""
        return sum(worker.working for worker in self._workers)

    @property
    def offers(self) -> Counter[int]:
        """How many workers that are connected were offered which channel_max."""
        return Counter(worker.channel_max for worker in self._workers if worker.working)

    @property
    def rounds(self) -> int:
        """How many messages were confirmed to the worker that has the fewest."""
        return min(worker.confirmed for worker in self._workers)

    def __enter__(self) -> Load:
        self._thread.start()
        self.do(self._start())
        return self

    def __exit__(self, *error: object) -> None:
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def do(self, work: Coroutine[Any, Any, T], within: float = 60.0) -> T:
        """Run `work` in the load's loop and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start `work` in the load's loop, which the caller is in; it ends with the load at the latest."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def finish(self, within: float = 20.0) -> Ledger:
        """Publish no more; wait until all that was published is confirmed, and all that was confirmed is consumed.

        What is still missing after `within` seconds is for `Ledger.check` to tell.
        """
        self.publishing = False
        self.do(
            self._until(lambda: not any(each.outstanding for each in self._workers) and not self.ledger.lost, within)
        )
        return self.ledger

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        connection = await Connection.open(self.port, self.vhost)
        connection.send(commands.Channel.Open(), channel=1)
        await connection.expect(commands.Channel.OpenOk)
        for queue in self.queues:
            connection.send(commands.Queue.Declare(queue=queue), channel=1)
            await connection.expect(commands.Queue.DeclareOk)
        await connection.close()
        for worker in self._workers:
            self.spawn(worker.live())

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until(self, condition: Callable[[], bool], within: float) -> None:
        deadline = time.monotonic() + within
        while not condition() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.ledger.failures.append(f"the load itself failed: {task.exception()!r}")


@define(eq=False)
class Worker:
    """One client, connection after connection."""

    _load: Load
    number: int
    queue: str
    working: bool = False
    channel_max: int = 0
    #: How many messages were confirmed to it.
    confirmed: int = 0
    #: What is published on this connection and not confirmed, by publisher tag.
    outstanding: dict[int, bytes] = field(factory=dict)
    _published: int = 0
    _tag: int = 0
    _delivery: int = 0

    async def live(self) -> None:
        """Connect, work, leave when told, come back."""
        ledger = self._load.ledger
        async with self._load._starters:
            connection = await self._connected()
        while True:
            try:
                await self._work(connection)
            except Left as left:
                ledger.departures.append(Departure(left.at, left.code, left.text, self.channel_max))
            except TROUBLE as error:
                ledger.failures.append(f"worker {self.number} was cut off: {error!r}")
            finally:
                self.working = False
                # What is not confirmed was not promised.
                self.outstanding.clear()
                connection.drop()
            await asyncio.sleep(random.uniform(*COMEBACK))
            connection = await self._connected()

    async def _connected(self) -> Connection:
        while True:
            began = time.monotonic()
            try:
                connection = await Connection.open(self._load.port, self._load.vhost)
            except TROUBLE as error:
                seconds = time.monotonic() - began
                self._load.ledger.failures.append(f"worker {self.number} not let in after {seconds:.2f} s: {error!r}")
                await asyncio.sleep(0.5)
            else:
                self._load.ledger.open(connection.seconds_to_connect, connection.seconds_to_open)
                return connection

    async def _work(self, connection: Connection) -> None:
        self.channel_max = connection.channel_max
        self._tag = 0
        connection.send(
            commands.Channel.Open(),
            commands.Confirm.Select(),
            commands.Basic.Qos(prefetch_count=PREFETCH),
            commands.Basic.Consume(queue=self.queue),
            channel=1,
        )
        for reply in (commands.Channel.OpenOk, commands.Confirm.SelectOk, commands.Basic.QosOk):
            await connection.expect(reply)
        timer = asyncio.get_running_loop().create_task(self._publish(connection))
        try:
            while True:
                self._received(connection, await connection.receive())
        finally:
            timer.cancel()

    async def _publish(self, connection: Connection) -> None:
        period = self._load.period
        await asyncio.sleep(random.uniform(0, period))
        while self._load.publishing:
            self._tag += 1
            self._published += 1
            body = b"worker %d.%d" % (self.number, self._published)
            self.outstanding[self._tag] = body
            connection.publish(random.choice(self._load.queues), body)
            await asyncio.sleep(random.uniform(0.5, 1.5) * period)

    def _received(self, connection: Connection, frame: Frame) -> None:
        if frame.kind == BODY:
            self._load.ledger.consumed.add(frame.payload)
            connection.send(commands.Basic.Ack(self._delivery), channel=1)
        elif frame.kind == METHOD:
            method: Any = frame.method
            if isinstance(method, commands.Basic.Deliver):
                self._delivery = method.delivery_tag or 0
                self._load.ledger.redelivered += method.redelivered
            elif isinstance(method, commands.Basic.Ack):
                self._settle(method.delivery_tag, method.multiple)
            else:
                assert isinstance(method, commands.Basic.ConsumeOk), f"worker {self.number} got {frame}"
                self.working = True

    def _settle(self, tag: int, multiple: bool) -> None:
        tags = [each for each in self.outstanding if each <= tag] if multiple else [tag]
        for each in tags:
            self._load.ledger.confirmed.add(self.outstanding.pop(each))
            self.confirmed += 1
