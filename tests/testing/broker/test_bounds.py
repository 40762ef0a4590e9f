"""What the broker keeps at most: a client that does not read, a broker that is full, bodies that are too large."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.testing.broker.peers import B, C, Peer, Q, X, expiring, names
from trabbits.testing.broker import Broker, Limits
from trabbits.testing.raw_client import BODY, HEADER, METHOD, content_header, encode_methods, raw_frame

KIB = 1024


def filled(broker: Broker, count: int, size: int = 10 * KIB) -> Peer:
    """A client that has put messages into the queue q."""
    client = Peer(broker)
    client.ask(Q.Declare(queue="q"))
    for _ in range(count):
        client.publish("q", b"x" * size)
    return client


def test_deliveries_pause_while_too_much_waits_and_go_on_when_it_is_taken() -> None:
    broker = Broker(limits=Limits(output=50 * KIB))
    filled(broker, 20)
    reader = Peer(broker)
    reader.send(B.Consume(queue="q", no_ack=True))
    assert len(broker.vhost().queues["q"].ready) == 15
    got = 0
    while items := reader.received():
        assert len(items) <= 7
        got += len(items)
    assert got == 21  # with consume-ok
    assert not broker.vhost().queues["q"].ready


def test_deliveries_stop_while_the_transport_takes_nothing() -> None:
    broker = Broker()
    publisher = filled(broker, 0)
    reader, other = Peer(broker), Peer(broker)
    reader.ask(B.Consume(queue="q", no_ack=True))
    reader.connection.writable(False)
    assert not reader.connection.reading
    publisher.publish("q", b"1", b"2")
    assert reader.received() == []
    other.send(B.Consume(queue="q", no_ack=True))
    publisher.publish("q", b"3")
    assert other.bodies == [b"1", b"2", b"3"]
    reader.connection.writable(True)
    publisher.publish("q", b"4", b"5")
    assert sorted(other.bodies + reader.bodies) == [b"4", b"5"]


def test_a_client_is_woken_once_until_its_output_is_taken() -> None:
    broker = Broker()
    publisher = filled(broker, 0)
    reader = Peer(broker)
    reader.ask(B.Consume(queue="q", no_ack=True))
    assert reader.woken == 0
    publisher.publish("q", b"1", b"2")
    publisher.publish("q", b"3")
    assert reader.woken == 1
    assert reader.bodies == [b"1", b"2", b"3"]
    publisher.publish("q", b"4")
    assert reader.woken == 2


def test_a_full_broker_holds_up_publishers_until_there_is_room() -> None:
    broker = Broker(limits=Limits(memory=50 * KIB))
    publisher = filled(broker, 5)
    assert broker.memory.high
    publisher.publish("q", b"y" * 10 * KIB)
    blocked = publisher.received()
    assert names(blocked) == ["Connection.Blocked"] and blocked[0].reason == "low on memory"
    assert not publisher.connection.reading
    assert len(broker.vhost().queues["q"].ready) == 5
    unaware = Peer(broker, capabilities={})
    unaware.publish("q", b"z" * 10 * KIB)
    assert unaware.received() == []
    reader = Peer(broker)
    assert reader.ask(Q.Purge(queue="q"))[0].message_count == 5
    assert names(publisher.received()) == ["Connection.Unblocked"]
    assert publisher.connection.reading
    assert [entry.message.body[:1] for entry in broker.vhost().queues["q"].ready] == [b"y", b"z"]
    assert not broker.memory.high


def test_the_host_can_block_and_unblock() -> None:
    broker = Broker()
    client = filled(broker, 0)
    client.ask(C.Select())
    broker.block("maintenance")
    assert client.received() == []  # nothing was published yet
    assert names(client.ask(B.Qos())) == ["Basic.QosOk"]
    client.publish("q", b"waits")
    assert [item.reason for item in client.received()] == ["maintenance"]
    client.send(B.Qos())
    assert client.received() == []  # not read
    broker.unblock()
    assert sorted(names(client.received())) == ["Basic.Ack", "Basic.QosOk", "Connection.Unblocked"]


def overflowing(client: Peer) -> None:
    """A queue full, whose head goes to the queue dead when one more message comes."""
    arguments: Any = {"x-max-length": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.ask(Q.Declare(queue="dead"), Q.Declare(queue="full", arguments=arguments))
    client.publish("full", b"1")


def test_what_an_alarm_has_held_up_is_brought_to_its_end_when_it_is_over() -> None:
    broker = Broker(limits=Limits(memory=20 * KIB))
    client = filled(broker, 0)
    overflowing(client)
    held_up, enough = Peer(broker), Peer(broker)
    client.publish("q", b"x" * 21 * KIB)
    held_up.publish("full", b"2")
    enough.publish("q", b"y" * 21 * KIB)
    client.ask(Q.Purge(queue="q"))
    assert [entry.message.body for entry in broker.vhost().queues["dead"].ready] == [b"1"]
    assert broker.memory.high, "what was held up is too much again"
    client.publish("q", b"waits")
    assert names(client.received()) == ["Connection.Blocked"]


def test_what_the_host_has_held_up_is_brought_to_its_end() -> None:
    broker = Broker(limits=Limits(memory=20 * KIB))
    client = filled(broker, 0)
    overflowing(client)
    broker.block("maintenance")
    client.publish("full", b"2")
    client.publish("q", b"x" * 21 * KIB)
    broker.unblock()
    assert [entry.message.body for entry in broker.vhost().queues["dead"].ready] == [b"1"]
    assert broker.memory.high


@pytest.mark.parametrize("end", ["commit", "rollback", "channel.close", "connection.close"])
def test_what_a_transaction_holds_counts(end: str) -> None:
    broker = Broker(limits=Limits(memory=50 * KIB))
    client = filled(broker, 0)
    client.ask(X.Select())
    for _ in range(5):
        client.publish("q", b"x" * 10 * KIB)
    assert broker.memory.high
    match end:
        case "commit":
            client.ask(X.Commit(), Q.Purge(queue="q"))
        case "rollback":
            client.ask(X.Rollback())
        case "channel.close":
            client.ask(commands.Channel.Close(200, "", 0, 0))
        case _:
            client.connection.lost()
    assert broker.memory.used == 0
    assert not broker.memory.high


def test_empty_body_frames_are_not_kept() -> None:
    broker = Broker()
    client = filled(broker, 0)
    client.send_octets(encode_methods(B.Publish(exchange="", routing_key="q"), channel=1))
    client.send_octets(raw_frame(HEADER, 1, content_header(2)))
    client.send_octets(raw_frame(BODY, 1, b"a") + raw_frame(BODY, 1, b"") * 100)
    content = client.connection.channels[1].content
    assert content is not None and content.parts == [b"a"]
    client.send_octets(raw_frame(BODY, 1, b"b"))
    assert [entry.message.body for entry in broker.vhost().queues["q"].ready] == [b"ab"]


def test_a_body_that_does_not_end_where_it_should_is_not_kept() -> None:
    """RabbitMQ waits for more of it."""
    broker = Broker()
    client = filled(broker, 0)
    client.send_octets(encode_methods(B.Publish(exchange="", routing_key="q"), channel=1))
    client.send_octets(raw_frame(HEADER, 1, content_header(2)))
    client.send_octets(raw_frame(BODY, 1, b"a") + raw_frame(BODY, 1, b"bc") + raw_frame(BODY, 1, b"d") * 100)
    content = client.connection.channels[1].content
    assert content is not None and content.parts == []
    (close,) = client.ask(B.Qos())
    assert (close.name, close.reply_code) == ("Connection.Close", 505)
    assert not broker.vhost().queues["q"].ready


@pytest.mark.parametrize("leaving", [False, True])
def test_answers_wait_for_who_asked_and_count_as_long(leaving: bool) -> None:
    broker = Broker(limits=Limits(memory=100 * KIB, output=15 * KIB))
    server, asking = Peer(broker), Peer(broker)
    asking.ask(B.Consume(queue="amq.rabbitmq.reply-to", no_ack=True))
    reply_name = asking.connection.channels[1].reply_name
    asking.connection.writable(False)
    for number in range(12):
        server.publish(reply_name, b"%02d" % number * 5 * KIB)
    assert asking.received() == []
    assert broker.memory.high
    assert not server.connection.reading
    if leaving:
        asking.connection.lost()
    else:
        asking.connection.writable(True)
        assert len(asking.connection.output) == 2, "no more than the bound, and the one that exceeds it"
        bodies: list[bytes] = []
        while got := asking.bodies:
            bodies += got
        assert [body[:2] for body in bodies] == [b"%02d" % number for number in range(12)]
    assert broker.memory.used == 0
    assert not broker.memory.high
    assert server.connection.reading


def test_a_body_that_is_too_large_is_406_and_not_kept() -> None:
    broker = Broker(limits=Limits(message_size=100))
    client = filled(broker, 0)
    client.publish("q", b"x" * 100)
    client.send_octets(encode_methods(B.Publish(exchange="", routing_key="q"), channel=1))
    client.send_octets(raw_frame(HEADER, 1, content_header(101)))
    client.send_octets(raw_frame(BODY, 1, b"x" * 100))
    assert client.received() == []
    client.send_octets(raw_frame(BODY, 1, b"x"))
    close = client.received()[0]
    assert (close.reply_code, close.reply_text) == (
        406,
        "PRECONDITION_FAILED - message size 101 is larger than configured max size 100",
    )


@pytest.mark.parametrize("properties", [b"\0\0", expiring(1000)], ids=["bare", "expiring"])
@pytest.mark.parametrize("frame_max", [4096, 5000, 131072])
@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 20_000])
def test_bodies_are_cut_to_the_reader_s_frames(frame_max: int, size: int, properties: bytes) -> None:
    broker = Broker()
    publisher = filled(broker, 0)
    reader = Peer(broker, frame_max=frame_max)
    reader.ask(B.Consume(queue="q", no_ack=True))
    publisher.publish("q", b"x" * size, properties=properties)
    (message,) = reader.received()
    assert message.body == b"x" * size
    assert message.properties == properties
    assert all(piece == frame_max - 8 for piece in message.pieces[:-1])


def test_a_frame_that_is_too_large_is_refused_by_its_head() -> None:
    client = Peer(Broker(), frame_max=4096)
    client.send_octets(bytes((METHOD, 0, 1)) + (4097).to_bytes(4, "big"))
    close = client.received()[0]
    assert close.reply_code == 501
    assert close.reply_text == "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4097,4088}"
