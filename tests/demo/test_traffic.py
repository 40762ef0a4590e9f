"""The demo's applications at an embedded broker: they lose nothing when connections end, and notice when others do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from pamqp import commands
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from trabbits.demo.clients import PAUSE, Publisher, Subject
from trabbits.demo.connection import Ended, connect
from trabbits.demo.traffic import Application, TrafficService
from trabbits.testing.broker import Broker, BrokerConnection, Faults
from trabbits.testing.broker.faults import Fault, Moment
from trabbits.testing.broker.line import Line
from trabbits.testing.broker.server import BrokerServer

SUBJECT = Subject("orders", ("created", "paid"), 500.0)
EXCHANGE = "trabbits.demo"
TIMEOUT = 20.0
_reactor: Any = reactor


async def until(condition: Callable[[], object]) -> None:
    deadline = _reactor.seconds() + TIMEOUT
    while not condition():
        assert _reactor.seconds() < deadline
        await deferLater(_reactor, 0.01)


class Place:
    """A broker, and one application that is not started."""

    def __init__(self) -> None:
        self.server = BrokerServer(Broker(clock=_reactor.seconds), _reactor)
        self.address = ("127.0.0.1", self.server.listen())
        self.application = Application(SUBJECT, EXCHANGE, "guest", self.address, _reactor)
        self.ledger = self.application.ledger
        self.traffic = TrafficService(_reactor)
        self.traffic.applications = [self.application]

    async def client(self) -> Any:
        return await connect(self.address, "guest", {}, _reactor)


@pytest_twisted.async_yield_fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    yield place
    await place.traffic.stopService()
    await place.server.stop()


async def another(place: Place, count: int) -> None:
    """So many messages more have been published."""
    sent = place.ledger.sent
    await until(lambda: place.ledger.sent >= sent + count)


def connections(place: Place, name: str) -> list[BrokerConnection]:
    """Those that are open and call themselves so."""
    found = [each for each in place.server.broker.connections if each.opened]
    return [each for each in found if each.client_properties["connection_name"].value == name]


def start(application: Application) -> Deferred[None]:
    return Deferred.fromCoroutine(application.start())


@pytest_twisted.ensureDeferred
async def test_connections_that_end_cost_no_message(place: Place) -> None:
    """Closed by the broker, dropped, the consumer's or the publisher's: in the end every message has come."""
    await start(place.application)
    broker = place.server.broker
    for name in ("orders publisher", "orders consumer"):
        for closes in (True, False):
            await another(place, 20)
            # It may not be back from its last end yet.
            await until(partial(connections, place, name))
            (connection,) = connections(place, name)
            if closes:
                connection.force_close("maintenance")
            else:
                connection.drop()
            place.server.factory.settle()
    await another(place, 20)
    await place.traffic.stopService()
    assert place.ledger.settled
    assert place.ledger.received == place.ledger.sent
    # It has removed what it declared.
    assert not broker.vhost().queues
    assert EXCHANGE not in broker.vhost().exchanges


@pytest_twisted.ensureDeferred
async def test_messages_that_find_no_queue_are_published_again(place: Place) -> None:
    """Neither an exchange that is missing nor one without a queue loses any."""
    publisher = place.application.publisher
    await publisher.start()
    await until(lambda: place.ledger.sent > 1)
    assert place.ledger.confirmed == 0
    client = await place.client()
    await client.request(commands.Exchange.Declare(exchange=EXCHANGE, exchange_type="topic", auto_delete=True))
    sent = place.ledger.sent
    await until(lambda: place.ledger.sent > sent + 20)
    assert place.ledger.confirmed == 0
    await place.application.consumer.start()
    await until(lambda: place.ledger.received > sent)
    await client.close()
    await place.traffic.stopService()
    assert place.ledger.settled
    assert (place.ledger.confirmed, place.ledger.repeated) == (place.ledger.sent, 0)


@pytest_twisted.ensureDeferred
async def test_a_thief_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that another client takes from the queue are confirmed and do not come."""
    monkeypatch.setattr("trabbits.demo.traffic.DRAIN", 0.1)
    await start(place.application)
    thief = await place.client()
    await thief.request(commands.Basic.Consume(queue=f"{EXCHANGE}.orders", no_ack=True))
    await until(lambda: place.ledger.overdue > 5)
    await place.traffic.stopService()
    place.traffic.applications = []  # not once more, by the fixture
    assert place.ledger.overdue == place.ledger.sent - place.ledger.received > 5
    await thief.close()


@pytest_twisted.ensureDeferred
async def test_a_blocked_publisher_publishes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    occasions = 0
    publish = Publisher._publish

    def counted(*arguments: Any) -> None:
        nonlocal occasions
        occasions += 1
        publish(*arguments)

    monkeypatch.setattr(Publisher, "_publish", counted)
    await start(place.application)
    await until(lambda: place.ledger.sent > 20)
    place.server.broker.block("by a test")
    place.server.factory.settle()
    connection: Any = place.application.publisher._connection
    await until(lambda: connection.blocked)
    sent, before = place.ledger.sent, occasions
    await until(lambda: occasions > before + 10)
    assert place.ledger.sent == sent
    place.server.broker.unblock()
    place.server.factory.settle()
    await until(lambda: place.ledger.sent > sent)


@pytest_twisted.ensureDeferred
async def test_a_refused_beginning_is_told(place: Place) -> None:
    """Later ends are met by coming back; the first refusal is for whoever started the application."""
    place.server.broker.users.clear()
    with pytest.raises(Ended) as refused:
        await start(place.application)
    assert refused.value.code == 403


@pytest.mark.parametrize("frames", range(1, 14, 2))
@pytest_twisted.ensureDeferred
async def test_it_can_be_stopped_at_any_step_of_its_beginning(place: Place, frames: int) -> None:
    """And then nothing is connected and nothing comes back."""
    seen: list[Moment] = []
    reached: Deferred[None] = Deferred()

    class Counting(Faults):
        """Nothing goes wrong; frames are counted."""

        def due(self, moment: Moment, line: Line) -> Iterator[Fault]:
            if moment.index is None:
                seen.append(moment)
                if len(seen) == frames:
                    _reactor.callLater(0, reached.callback, None)
            return iter(())

    place.server.broker.faults = Counting()
    beginning = start(place.application)
    beginning.addErrback(lambda failure: None)  # stopped
    await reached
    await place.traffic.stopService()
    await until(lambda: not place.server.broker.connections)
    await deferLater(_reactor, 2 * PAUSE)
    assert not place.server.broker.connections
