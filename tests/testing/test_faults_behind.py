"""What a client of trabbits sees of each fault of the broker behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from attrs import frozen

from trabbits.testing.broker import (
    CloseChannel,
    CloseConnection,
    Delay,
    Drop,
    HalfOpen,
    SlowReading,
    from_client,
    to_client,
)
from trabbits.testing.client import ClosedByPeer, RecordingClient
from trabbits.testing.record import Closing
from trabbits.testing.running import RunningBroker, running_broker, running_trabbits
from trabbits.testing.trabbits_process import TrabbitsProcess


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[RunningBroker, TrabbitsProcess]]:
    with running_broker("a") as broker:
        with running_trabbits({"heartbeat": 1}, upstreams={"a": broker}) as proxy:
            yield broker, proxy


@pytest.fixture
def broker(shared: tuple[RunningBroker, TrabbitsProcess]) -> Iterator[RunningBroker]:
    yield shared[0]
    shared[0].recover()


@pytest.fixture
def proxy(shared: tuple[RunningBroker, TrabbitsProcess]) -> TrabbitsProcess:
    return shared[1]


def publisher(proxy: TrabbitsProcess) -> RecordingClient:
    client = RecordingClient.connect(proxy.port, heartbeat=1)
    client.declare("q", exclusive=True)
    client.confirm()
    return client


@frozen
class Case:
    """What is prepared, and how the client's connection or channel ends when it connects and publishes two messages."""

    title: str
    prepare: Callable[[RunningBroker], object]
    channel: int
    code: int
    text: str


CASES = [
    Case("refused by the system", RunningBroker.refuse_connections, 0, 320, "refused"),
    Case("dropped when it connects", lambda b: b.plan(Drop()), 0, 320, "upstream 'a'"),
    Case(
        "a login refused",
        lambda b: b.plan(CloseConnection(403, "not you"), from_client(method="connection.start-ok")),
        0,
        403,
        "ACCESS_REFUSED - not you",
    ),
    Case(
        "a virtual host refused",
        lambda b: b.plan(CloseConnection(530, "vhost '/' is down"), from_client(method="connection.open")),
        0,
        530,
        "NOT_ALLOWED - vhost '/' is down",
    ),
    Case("dropped at a frame of the client's", lambda b: b.plan(Drop(), from_client(6)), 0, 320, "upstream 'a'"),
    Case("dropped at a frame of the broker's", lambda b: b.plan(Drop(), to_client(5)), 0, 320, "upstream 'a'"),
    Case("dropped at a publish", lambda b: b.plan(Drop(), from_client(2, "basic.publish")), 0, 320, "upstream 'a'"),
    Case("dropped instead of a confirm", lambda b: b.plan(Drop(), to_client(1, "basic.ack")), 0, 320, "upstream 'a'"),
    Case(
        "a channel closed",
        lambda b: b.plan(CloseChannel(404, "no exchange today"), from_client(2, "basic.publish")),
        1,
        404,
        "NOT_FOUND - no exchange today",
    ),
    Case(
        "a connection closed",
        lambda b: b.plan(CloseConnection(320, "maintenance"), from_client(2, "basic.publish")),
        0,
        320,
        "CONNECTION_FORCED - maintenance",
    ),
    Case(
        "half open, which heartbeats notice",
        lambda b: b.plan(HalfOpen(), from_client(2, "basic.publish")),
        0,
        320,
        "upstream 'a'",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_the_client_is_told(broker: RunningBroker, proxy: TrabbitsProcess, case: Case) -> None:
    case.prepare(broker)
    with pytest.raises(ClosedByPeer) as closed:
        with publisher(proxy) as client:
            for body in (b"1", b"2"):
                client.publish("", "q", body)
                client.wait_for_confirms()
    closing = closed.value.closing
    assert closing is not None
    assert (closing.channel, closing.code) == (case.channel, case.code)
    assert case.text in closing.text


@pytest.mark.parametrize(
    ("fault", "closing"),
    [
        (CloseChannel(405, "locked"), Closing(1, 405, "RESOURCE_LOCKED - locked")),
        (CloseConnection(320, "bye"), Closing(0, 320, "CONNECTION_FORCED - bye (upstream 'a')")),
    ],
)
def test_strikes(
    broker: RunningBroker, proxy: TrabbitsProcess, fault: CloseChannel | CloseConnection, closing: Closing
) -> None:
    with publisher(proxy) as client:
        assert broker.strike(fault) == 1
        client.wait_for(lambda record: record.closings)
        assert client.record.closings == [closing]


def test_delays(broker: RunningBroker, proxy: TrabbitsProcess) -> None:
    with publisher(proxy) as client:
        broker.strike(Delay(from_client=0.2, to_client=0.1))
        began = time.monotonic()
        client.publish("", "q")
        client.wait_for_confirms()
        assert time.monotonic() - began >= 0.3
        broker.recover()
        client.declare("q", exclusive=True)


def test_slow_reading_holds_up_the_client(broker: RunningBroker, proxy: TrabbitsProcess) -> None:
    """One megabyte at two megabytes a second."""
    with publisher(proxy) as client:
        broker.strike(SlowReading(2_000_000))
        began = time.monotonic()
        client.publish("", "q", bytes(1_000_000))
        client.wait_for_confirms()
        assert time.monotonic() - began >= 0.4


def test_blocking(broker: RunningBroker, proxy: TrabbitsProcess) -> None:
    with publisher(proxy) as client:
        broker.block("low on patience")
        client.publish("", "q")
        client.wait_for(lambda record: record.blocked)
        broker.unblock()
        client.wait_for(lambda record: not record.blocked and record.confirmed == {1})


def test_all_is_well_afterwards(broker: RunningBroker, proxy: TrabbitsProcess) -> None:
    """Without a fault, the same steps end well."""
    with publisher(proxy) as client:
        client.publish("", "q", b"1")
        client.wait_for_confirms()
        assert broker.depth("q") == 1
        assert client.record.closings == []
