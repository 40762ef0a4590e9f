"""The clients of one application: one that publishes and one that consumes.

Lives here: what they declare, publish and acknowledge, and that they come back after an end as programs of users' do.
Must not know: brokers, routing, the proxy: they have an address and AMQP.
"""

from __future__ import annotations

import platform
from typing import Any, Final

from attrs import frozen
from pamqp import commands
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from trabbits import __version__
from trabbits.demo.connection import AmqpConnection, Ended, connect
from trabbits.demo.ledger import Ledger
from trabbits.log_ids import LogId
from trabbits.logs import EventLog

#: Seconds until a client that has lost its connection comes back.
PAUSE: Final = 0.2
#: Messages that a consumer takes before it has acknowledged one.
PREFETCH: Final = 50
#: Milliseconds for which a broker keeps a queue that nobody uses: a demo that was killed leaves nothing for long.
EXPIRES: Final = 60_000

PUBLISHER: Final = "publisher"
CONSUMER: Final = "consumer"

_log = EventLog(Logger("trabbits.demo"))


@frozen
class Subject:
    """What an application talks about: its name, the last words of its routing keys, messages each second."""

    name: str
    words: tuple[str, ...]
    rate: float

    @property
    def pattern(self) -> str:
        """What matches its routing keys."""
        return f"{self.name}.#"


def connection_name(application: str, role: str) -> str:
    """What a client calls itself."""
    return f"{application} {role}"


class Client:
    """A client that comes back until it is stopped.

    `begun` fires when it works for the first time, or fails with what kept it from that.
    """

    role = ""

    def __init__(
        self, subject: Subject, ledger: Ledger, exchange: str, user: str, address: tuple[str, int], reactor: Any
    ) -> None:
        self.subject = subject
        self.ledger = ledger
        self.exchange = exchange
        self.queue = f"{exchange}.{subject.name}"
        self.begun: Deferred[None] = Deferred()
        self._user = user
        self._address = address
        self._reactor = reactor
        self._connection: AmqpConnection | None = None
        #: Whether the connection is there and nothing is being asked on it.
        self._at_work = False
        self._stopping = False
        self._running: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """Connect and work; gives `begun`."""
        self._running = Deferred.fromCoroutine(self._run())
        # Whoever stops it waits no longer than for the end, whatever that was.
        self._running.addErrback(self._ended)
        return self.begun

    async def stop(self) -> None:
        """Close the connection, and come back no more."""
        self._stopping = True
        connection = self._connection
        if self._running is not None and not self._at_work:
            self._running.cancel()
        if connection is None or connection.over:
            return
        if self._at_work:
            try:
                await self.leave(connection)
            except Ended:
                return  # it is over anyway
        await connection.close()

    async def work(self, connection: AmqpConnection) -> None:
        """Begin working on a new connection."""
        raise NotImplementedError

    async def leave(self, connection: AmqpConnection) -> None:
        """Before the connection is closed."""

    async def _run(self) -> None:
        properties = {
            "product": connection_name(self.subject.name, self.role),
            "version": __version__,
            "platform": "trabbits demo",
            "information": f"Python {platform.python_version()}",
            "connection_name": connection_name(self.subject.name, self.role),
        }
        while not self._stopping:
            try:
                connection = await connect(self._address, self._user, properties, self._reactor)
                self._connection = connection
                await self.work(connection)
                self._at_work = True
                if not self.begun.called:
                    self.begun.callback(None)
                await connection.when_ended()
            except CancelledError:
                raise
            except Exception:
                # Refused, lost, unreachable: the beginning tells its owner, later ends are met by coming back.
                if not self.begun.called:
                    raise
            self._at_work = False
            if not self._stopping:
                await deferLater(self._reactor, PAUSE)

    def _ended(self, failure: Failure) -> None:
        if not self.begun.called:
            self.begun.errback(failure)


class Consumer(Client):
    """Declares the application's queue on every connection, and acknowledges each message."""

    role = CONSUMER

    async def work(self, connection: AmqpConnection) -> None:
        connection.listener = _Receiving(connection, self.ledger)
        # The exchange is gone with its last queue.
        for request in (
            commands.Exchange.Declare(exchange=self.exchange, exchange_type="topic", auto_delete=True),
            commands.Queue.Declare(queue=self.queue, arguments={"x-expires": EXPIRES}),
            commands.Queue.Bind(queue=self.queue, exchange=self.exchange, routing_key=self.subject.pattern),
            commands.Basic.Qos(prefetch_count=PREFETCH),
            commands.Basic.Consume(queue=self.queue),
        ):
            await connection.request(request)

    async def leave(self, connection: AmqpConnection) -> None:
        await connection.request(commands.Queue.Delete(queue=self.queue))


class _Receiving:
    """Acknowledges what comes."""

    def __init__(self, connection: AmqpConnection, ledger: Ledger) -> None:
        self._connection = connection
        self._ledger = ledger

    def delivered(self, tag: int, body: bytes) -> None:
        self._ledger.receive(body)
        self._connection.acknowledge(tag)

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """Nothing was published."""

    def returned(self, body: bytes) -> None:
        """Nothing was published."""


class Publisher(Client):
    """Publishes at a steady rate, in confirm mode, and again what was not taken over."""

    role = PUBLISHER

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._quiet = False

    async def work(self, connection: AmqpConnection) -> None:
        await connection.request(commands.Confirm.Select())
        publishing = _Publishing(connection, self.subject, self.ledger, self.exchange)
        connection.listener = publishing
        for number in self.ledger.to_repeat():
            publishing.publish(number)
        loop = LoopingCall(self._publish, connection, publishing)
        loop.clock = self._reactor
        connection.when_ended().addCallback(lambda _: loop.stop() if loop.running else None)
        loop.start(1 / self.subject.rate).addErrback(self._failed, connection)

    def quiet(self) -> None:
        """Publish nothing new; what is under way is brought to its end."""
        self._quiet = True

    def _publish(self, connection: AmqpConnection, publishing: _Publishing) -> None:
        if connection.blocked:
            return
        publishing.repeat()
        if not self._quiet and not self.ledger.full:
            publishing.publish(self.ledger.send())

    def _failed(self, failure: Failure, connection: AmqpConnection) -> None:
        _log(LogId.INTERNAL_ERROR, text="the demo failed to publish", error=failure)
        connection.close()


class _Publishing:
    """Publishes on one connection, and knows which number each confirm is about."""

    def __init__(self, connection: AmqpConnection, subject: Subject, ledger: Ledger, exchange: str) -> None:
        self._connection = connection
        self._subject = subject
        self._ledger = ledger
        self._exchange = exchange
        #: By number in confirm mode, which of the ledger's messages.
        self._awaited: dict[int, int] = {}
        self._returned: set[int] = set()
        self._again: list[int] = []

    def publish(self, number: int) -> None:
        words = self._subject.words
        key = f"{self._subject.name}.{words[number % len(words)]}"
        tag = self._connection.publish(self._exchange, key, self._ledger.body(number))
        self._awaited[tag] = number

    def repeat(self) -> None:
        """Publish again what was returned or rejected."""
        again, self._again = self._again, []
        for number in again:
            self.publish(number)

    def delivered(self, tag: int, body: bytes) -> None:
        """Nothing is consumed here."""

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        tags = [each for each in self._awaited if each <= tag] if multiple else [tag]
        for each in tags:
            number = self._awaited.pop(each, None)
            if number is None:
                continue
            if taken and number not in self._returned:
                self._ledger.confirm(number)
            else:
                self._again.append(number)
            self._returned.discard(number)

    def returned(self, body: bytes) -> None:
        number = self._ledger.number_of(body)
        if number is not None:
            self._returned.add(number)
