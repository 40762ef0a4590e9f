"""The demo's applications: orders, invoices and logs.

Lives here: `Application`, and `TrafficService`, which starts and stops all of them.  Must not know: what their clients
do on the wire (``clients.py``), which broker anything goes to.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import secrets
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from trabbits.demo.clients import Consumer, Publisher, Subject
from trabbits.demo.ledger import Ledger

SUBJECTS: Final = (
    Subject("orders", ("created", "paid", "shipped"), 20.0),
    Subject("invoices", ("created", "sent"), 5.0),
    Subject("logs", ("info", "warning", "error"), 50.0),
)
#: Seconds that messages under way have to arrive when the demo ends.
DRAIN: Final = 3.0
_STEP: Final = 0.02


class Application:
    """One application: a publisher and a consumer, and the ledger of its messages."""

    def __init__(self, subject: Subject, exchange: str, user: str, address: tuple[str, int], reactor: Any) -> None:
        self.subject = subject
        self.ledger = Ledger(subject.name, reactor.seconds)
        self.consumer = Consumer(subject, self.ledger, exchange, user, address, reactor)
        self.publisher = Publisher(subject, self.ledger, exchange, user, address, reactor)

    async def start(self) -> None:
        """Consume, and then publish: nothing is published that has no queue."""
        await self.consumer.start()
        await self.publisher.start()


class TrafficService(Service):
    """All applications.  They do not start with the tree but when `begin` says so: then clients may come."""

    name = "traffic"

    def __init__(self, reactor: Any) -> None:
        self.applications: list[Application] = []
        self._reactor = reactor

    def begin(self, address: tuple[str, int], user: str | None) -> Deferred[Any]:
        """Connect to the proxy at `address` as `user`, None for each application as its own.

        Fires when all work, or fails with what kept one from that.
        """
        # What another demo leaves on a real broker is none of ours.
        exchange = f"trabbits.demo-{secrets.token_hex(2)}"
        self.applications = [
            Application(subject, exchange, user or subject.name, address, self._reactor) for subject in SUBJECTS
        ]
        starting = [Deferred.fromCoroutine(application.start()) for application in self.applications]
        return gatherResults(starting, consumeErrors=True)

    def stopService(self) -> Deferred[None]:
        """Bring what is under way to its end, then disconnect; fires when nothing is connected."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for application in self.applications:
            application.publisher.quiet()
        deadline = self._reactor.seconds() + DRAIN
        while self._reactor.seconds() < deadline and not all(each.ledger.settled for each in self.applications):
            await deferLater(self._reactor, _STEP)
        for clients in (
            [each.publisher for each in self.applications],
            [each.consumer for each in self.applications],
        ):
            await gatherResults([Deferred.fromCoroutine(client.stop()) for client in clients], consumeErrors=True)
