"""`RecordingClient`: it remembers all that it is sent, and waits no longer than it should."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from trabbits.testing.broker import CloseConnection, Delay, Drop, HalfOpen, User, from_client
from trabbits.testing.client import ClosedByPeer, RecordingClient
from trabbits.testing.record import Closing
from trabbits.testing.running import RunningBroker, running_broker


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningBroker]:
    with running_broker(users={"guest": User("guest"), "ann": User("a", {})}) as broker:
        yield broker


@pytest.fixture
def broker(shared: RunningBroker) -> Iterator[RunningBroker]:
    yield shared
    shared.recover()


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[RecordingClient]:
    with RecordingClient.connect(broker.port) as client:
        client.declare("q", exclusive=True)
        yield client


def test_deliveries_with_all_that_belongs_to_them(client: RecordingClient) -> None:
    client.publish("", "q", b"one", headers={"tenant": "acme"}, message_id="1")
    client.publish("", "q", bytes(300_000))
    client.publish("", "q")
    tag = client.consume("q", consumer_tag="me")
    first, second, third = client.wait_for_deliveries(3)
    assert tag == first.method.consumer_tag == "me"
    assert (first.body, first.headers, first.properties.message_id) == (b"one", {"tenant": "acme"}, "1")
    assert (first.method.exchange, first.method.routing_key, first.method.redelivered) == ("", "q", False)
    assert (second.body, third.body, [each.tag for each in (first, second, third)]) == (bytes(300_000), b"", [1, 2, 3])


def test_what_is_not_acknowledged_comes_again(client: RecordingClient) -> None:
    client.qos(2)
    for body in (b"1", b"2", b"3"):
        client.publish("", "q", body)
    client.consume("q")
    client.wait_for_deliveries(2)
    client.settle()
    assert client.record.bodies == [b"1", b"2"]
    client.nack(client.record.deliveries[1])
    client.wait_for_deliveries(3)
    assert client.record.deliveries[2].method.redelivered
    client.ack(client.record.deliveries[2], multiple=True)
    client.wait_for(lambda record: record.bodies == [b"1", b"2", b"2", b"3"])


def test_confirms_one_by_one_and_together(client: RecordingClient) -> None:
    assert client.publish("", "q") == 0, "not in confirm mode"
    client.confirm()
    numbers = [client.publish("", "q", b"x") for _ in range(100)]
    assert numbers == list(range(1, 101))
    client.wait_for_confirms()
    assert client.record.confirmed == set(numbers)
    assert client.record.rejected == set()


def test_messages_that_the_broker_rejects(client: RecordingClient) -> None:
    full = client.declare("", exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    client.confirm()
    for _ in range(3):
        client.publish("", full)
    client.wait_for_confirms()
    assert (client.record.confirmed, client.record.rejected) == ({1}, {2, 3})


def test_returns(client: RecordingClient) -> None:
    client.publish("", "nowhere", b"back", mandatory=True)
    client.publish("amq.direct", "nobody", b"gone")
    client.settle()
    (returned,) = client.record.returns
    assert (returned.body, returned.method.reply_code) == (b"back", 312)


def test_gets(client: RecordingClient) -> None:
    assert client.get("q") is None
    client.publish("", "q", b"one")
    client.settle()
    found = client.get("q")
    assert found is not None
    assert found.body == b"one"
    assert client.record.deliveries == []


def test_exchanges_and_several_channels(client: RecordingClient) -> None:
    client.bind("q", "amq.topic", "orders.#")
    client.open_channel(2)
    client.confirm(2)
    client.publish("amq.topic", "orders.eu", b"two", channel=2)
    client.wait_for_confirms()
    assert client.record.confirmed_on(2) == {1}
    assert client.record.confirmed == set()
    tag = client.consume("q", no_ack=True)
    client.wait_for_deliveries(1)
    client.cancel(tag)


def test_a_closed_channel_can_be_opened_again(client: RecordingClient) -> None:
    client.confirm()
    client.publish("no such exchange", "q")
    with pytest.raises(ClosedByPeer) as closed:
        client.wait_for_confirms()
    assert closed.value.closing == client.record.closing(1)
    assert str(closed.value).startswith("Closing(channel=1, code=404")
    client.open_channel(1)
    client.declare("q", passive=True)


def test_an_error_of_a_request(client: RecordingClient) -> None:
    with pytest.raises(ClosedByPeer, match="no queue 'nowhere' in vhost '/'"):
        client.declare("nowhere", passive=True)


def test_a_closed_connection(broker: RunningBroker, client: RecordingClient) -> None:
    broker.strike(CloseConnection(320, "bye"))
    client.wait_for(lambda record: record.ended)
    assert client.record.closings == [Closing(0, 320, "CONNECTION_FORCED - bye")]
    with pytest.raises(ClosedByPeer, match="bye"):
        client.wait_for(lambda record: record.deliveries)


def test_a_socket_closed_without_a_word(broker: RunningBroker, client: RecordingClient) -> None:
    broker.strike(Drop())
    with pytest.raises(ClosedByPeer, match="the socket was closed without"):
        client.wait_for(lambda record: record.deliveries)


def test_not_let_in(broker: RunningBroker) -> None:
    with pytest.raises(ClosedByPeer, match="403"):
        RecordingClient.connect(broker.port, password="wrong")
    with pytest.raises(ClosedByPeer, match="530"):
        RecordingClient.connect(broker.port, user="ann", password="a")


def test_waiting_has_an_end_and_says_what_there_is(broker: RunningBroker, client: RecordingClient) -> None:
    client.publish("", "q", b"1")
    client.consume("q")
    client.wait_for_deliveries(1)
    with pytest.raises(TimeoutError, match=r"not within 0.05 s: 2 deliveries; there is 1 deliveries"):
        client.wait_for_deliveries(2, timeout=0.05)
    broker.strike(HalfOpen())
    client.timeout = 0.05
    with pytest.raises(TimeoutError, match=r"not within 0.05 s: \[1\] Queue.DeclareOk; there is 1 deliveries"):
        client.declare("another")


def test_what_comes_during_a_request_is_recorded(broker: RunningBroker, client: RecordingClient) -> None:
    client.consume("q")
    client.confirm()
    broker.strike(Delay(to_client=0.05))
    client.publish("", "q", b"1")
    client.declare("q", passive=True, exclusive=True)
    client.declare("q", passive=True, exclusive=True)
    assert (client.record.bodies, client.record.confirmed) == ([b"1"], {1})


def test_blocked_and_unblocked(broker: RunningBroker, client: RecordingClient) -> None:
    broker.block("why not")
    client.publish("", "q")
    client.wait_for(lambda record: record.blocked)
    broker.unblock()
    client.wait_for(lambda record: not record.blocked)
    assert client.record.times_blocked == 1


def test_leaving_never_fails_and_takes_no_time(broker: RunningBroker) -> None:
    for prepare in (
        lambda: None,
        lambda: broker.plan(Drop(), from_client(method="connection.close")),
        lambda: broker.strike(Drop()),
    ):
        with RecordingClient.connect(broker.port) as client:
            prepare()
            began = time.monotonic()
        assert time.monotonic() - began < 2
        assert client.raw.sock.fileno() == -1
