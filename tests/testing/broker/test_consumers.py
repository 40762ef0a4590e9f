"""Who gets a message: turns, priorities, one active consumer, prefetch, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.testing.broker.peers import B, Peer, Q, X, names
from trabbits.testing.broker import Broker


@pytest.fixture
def broker() -> Broker:
    return Broker()


def consuming(broker: Broker, *, prefetch: int = 0, **options: Any) -> Peer:
    """A client that consumes from q."""
    peer = Peer(broker)
    peer.ask(B.Qos(prefetch_count=prefetch), B.Consume(queue="q", **options))
    return peer


@pytest.fixture
def client(broker: Broker) -> Peer:
    """A client that has declared q."""
    client = Peer(broker)
    client.ask(Q.Declare(queue="q"))
    return client


def test_consumers_take_turns(broker: Broker, client: Peer) -> None:
    peers = [consuming(broker) for _ in range(3)]
    client.publish("q", *(b"%d" % number for number in range(7)))
    assert [peer.bodies for peer in peers] == [[b"0", b"3", b"6"], [b"1", b"4"], [b"2", b"5"]]


def test_the_more_important_one_comes_first_until_it_has_enough(broker: Broker, client: Peer) -> None:
    low = consuming(broker)
    high = consuming(broker, prefetch=2, arguments={"x-priority": 5})
    client.publish("q", b"1", b"2", b"3")
    assert (high.bodies, low.bodies) == ([b"1", b"2"], [b"3"])
    high.ask(B.Ack(1))
    client.publish("q", b"4", b"5")
    assert (high.bodies, low.bodies) == ([b"4"], [b"5"])


def test_only_one_consumer_is_active_where_that_is_asked_for(broker: Broker) -> None:
    client = Peer(broker)
    client.ask(Q.Declare(queue="q", arguments={"x-single-active-consumer": True}))
    first, second = consuming(broker), consuming(broker)
    client.publish("q", b"1", b"2")
    assert (first.bodies, second.bodies) == ([b"1", b"2"], [])
    first.connection.lost()
    client.publish("q", b"3")
    assert second.bodies == [b"1", b"2", b"3"]


def test_a_consumer_that_becomes_the_active_one_gets_what_waits(broker: Broker) -> None:
    client = Peer(broker)
    client.ask(Q.Declare(queue="q", arguments={"x-single-active-consumer": True}))
    first = consuming(broker, prefetch=1)
    second = consuming(broker)
    client.publish("q", b"1", b"2")
    assert first.ask(B.Ack(1)) != []
    first.connection.writable(False)
    first.send(B.Ack(2))
    client.publish("q", b"3")
    first.connection.lost()
    assert second.bodies == [b"3"]


def test_channels_of_a_connection_that_goes_give_each_other_nothing(broker: Broker, client: Peer) -> None:
    going = Peer(broker)
    going.ask(commands.Channel.Open(), channel=2)
    going.ask(B.Consume(queue="q"))
    client.publish("q", b"1")
    going.ask(B.Consume(queue="q"), channel=2)
    going.received()
    going.connection.lost()
    assert going.received() == []
    assert [entry.message.body for entry in broker.vhost().queues["q"].ready] == [b"1"]


def test_what_comes_back_is_where_it_was(broker: Broker, client: Peer) -> None:
    client.publish("q", *(b"%d" % number for number in range(6)))
    for _ in range(4):
        client.ask(B.Get(queue="q"))
    client.ask(B.Reject(3, requeue=True))
    client.ask(B.Nack(2, multiple=True, requeue=True))
    queue = broker.vhost().queues["q"]
    assert [(entry.message.body, entry.redelivered) for entry in queue.ready] == [
        (b"0", True),
        (b"1", True),
        (b"2", True),
        (b"4", False),
        (b"5", False),
    ]
    assert [entry.message.body for entry in queue.unacked.values()] == [b"3"]
    client.connection.lost()
    assert [entry.message.body for entry in queue.ready] == [b"%d" % number for number in range(6)]


def test_a_prefetch_is_each_consumer_s_own(broker: Broker, client: Peer) -> None:
    client.ask(B.Qos(prefetch_count=1), B.Consume(queue="q", consumer_tag="one"))
    client.ask(B.Qos(prefetch_count=2), B.Consume(queue="q", consumer_tag="two"))
    client.publish("q", *(b"%d" % number for number in range(6)))
    assert [item.method.consumer_tag for item in client.received()] == ["one", "two", "two"]
    assert [item.method.consumer_tag for item in client.ask(B.Ack(2))] == ["two"]
    assert [item.method.consumer_tag for item in client.ask(B.Ack(0, multiple=True))] == ["one", "two"]


def test_a_global_prefetch_is_shared(broker: Broker, client: Peer) -> None:
    client.ask(B.Qos(prefetch_count=2, global_=True))
    client.ask(B.Consume(queue="q", consumer_tag="one"), B.Consume(queue="q", consumer_tag="two"))
    client.publish("q", *(b"%d" % number for number in range(6)))
    assert len(client.received()) == 2
    assert len(client.ask(B.Ack(2, multiple=True))) == 2
    assert len(client.ask(B.Qos(prefetch_count=0, global_=True))) == 1 + 2


def test_a_deleted_queue_s_messages_can_still_be_acknowledged(broker: Broker, client: Peer) -> None:
    other = consuming(broker, consumer_tag="t")
    client.publish("q", b"1")
    client.ask(Q.Delete(queue="q"))
    assert names(other.received()) == ["Basic.Deliver", "Basic.Cancel"]
    assert other.ask(B.Ack(1)) == []
    assert broker.memory.used == 0


def test_an_auto_delete_queue_goes_with_its_last_consumer(broker: Broker) -> None:
    client = Peer(broker)
    client.ask(Q.Declare(queue="q", auto_delete=True))
    one, two = consuming(broker, consumer_tag="t"), consuming(broker)
    one.ask(B.Cancel(consumer_tag="t"))
    assert "q" in broker.vhost().queues
    two.connection.lost()
    assert "q" not in broker.vhost().queues


def test_exclusive_queues_go_with_their_connection(broker: Broker) -> None:
    owner, other = Peer(broker), Peer(broker)
    owner.ask(Q.Declare(queue="mine", exclusive=True))
    assert other.ask(Q.Declare(queue="mine", passive=True))[0].reply_code == 405
    owner.connection.lost()
    assert "mine" not in broker.vhost().queues


def test_a_rolled_back_settlement_can_be_made_again(broker: Broker, client: Peer) -> None:
    client.publish("q", b"1", b"2")
    client.ask(X.Select(), B.Get(queue="q"), B.Get(queue="q"), B.Ack(1), B.Reject(2, requeue=True))
    client.publish("q", b"never")
    assert names(client.ask(X.Rollback(), B.Ack(2, multiple=True), X.Commit())) == ["Tx.RollbackOk", "Tx.CommitOk"]
    queue = broker.vhost().queues["q"]
    assert not queue.ready and not queue.unacked and broker.memory.used == 0


def test_what_a_transaction_held_comes_back_when_the_channel_goes(broker: Broker, client: Peer) -> None:
    client.publish("q", b"1", b"2")
    client.ask(X.Select(), B.Get(queue="q"), B.Get(queue="q"), B.Ack(1))
    client.publish("q", b"never")
    client.connection.lost()
    assert [entry.message.body for entry in broker.vhost().queues["q"].ready] == [b"1", b"2"]
