"""What happens by the clock, on a clock that only the test moves."""

from __future__ import annotations

import pytest

from tests.testing.broker.peers import B, Peer, Q, Time, expiring, names
from trabbits.testing.broker import Broker
from trabbits.wire.constants import HEARTBEAT_FRAME, PROTOCOL_HEADER


class Clocked:
    """A broker, its time, and a client that is patient."""

    def __init__(self) -> None:
        self.time = Time()
        self.broker = Broker(clock=self.time)
        self.client = Peer(self.broker)

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, doing what is due on the way, as a reactor would."""
        end = self.time.now + seconds
        while (when := self.broker.next_timer()) is not None and when <= end:
            self.time.now = max(self.time.now, when)
            self.broker.advance()
        self.time.now = end
        self.broker.advance()

    def ready(self, queue: str) -> list[bytes]:
        return [entry.message.body for entry in self.broker.vhost().queues[queue].ready]


@pytest.fixture
def clocked() -> Clocked:
    return Clocked()


def test_messages_of_a_queue_with_a_time_to_live_expire(clocked: Clocked) -> None:
    clocked.client.ask(Q.Declare(queue="q", arguments={"x-message-ttl": 5000}))
    clocked.client.publish("q", b"1")
    clocked.pass_time(3)
    clocked.client.publish("q", b"2")
    clocked.pass_time(1.999)
    assert clocked.ready("q") == [b"1", b"2"]
    clocked.pass_time(0.001)
    assert clocked.ready("q") == [b"2"]
    clocked.pass_time(3)
    assert clocked.ready("q") == []
    assert clocked.broker.memory.used == 0


def test_the_shorter_of_two_lives_counts_and_expiry_is_at_the_head(clocked: Clocked) -> None:
    clocked.client.ask(Q.Declare(queue="q", arguments={"x-message-ttl": 5000}))
    clocked.client.publish("q", b"long", properties=expiring(9000))
    clocked.client.publish("q", b"short", properties=expiring(1000))
    clocked.pass_time(4)
    assert clocked.ready("q") == [b"long", b"short"]
    clocked.pass_time(1)
    assert clocked.ready("q") == []


def test_a_message_without_time_goes_to_a_consumer_or_nowhere(clocked: Clocked) -> None:
    clocked.client.ask(Q.Declare(queue="q", arguments={"x-message-ttl": 0}))
    clocked.client.publish("q", b"gone")
    clocked.broker.advance()
    clocked.client.ask(B.Consume(queue="q", no_ack=True))
    clocked.client.publish("q", b"taken")
    assert clocked.client.bodies == [b"taken"]


def test_expired_messages_are_dead_lettered_with_their_story(clocked: Clocked) -> None:
    clocked.client.ask(
        Q.Declare(queue="morgue"),
        Q.Declare(
            queue="q",
            arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "morgue", "x-message-ttl": 1000},
        ),
    )
    clocked.client.publish("q", b"late", properties=expiring(500))
    clocked.pass_time(1)
    (entry,) = clocked.broker.vhost().queues["morgue"].ready
    headers = entry.message.headers()
    assert {name: headers[f"x-first-death-{name}"].value for name in ("queue", "reason", "exchange")} == {
        "queue": "q",
        "reason": "expired",
        "exchange": "",
    }
    clocked.pass_time(100)
    assert clocked.ready("morgue") == [b"late"]  # the expiration is gone


def test_an_unused_queue_expires_and_a_used_one_does_not(clocked: Clocked) -> None:
    clocked.client.ask(Q.Declare(queue="q", arguments={"x-expires": 1000}))
    queues = clocked.broker.vhost().queues
    uses = (Q.Declare(queue="q", arguments={"x-expires": 1000}), Q.Declare(queue="q", passive=True), B.Get(queue="q"))
    for step in uses * 4:
        clocked.pass_time(0.9)
        clocked.client.ask(step)
    clocked.client.ask(B.Consume(queue="q", consumer_tag="t"))
    clocked.pass_time(100)
    assert "q" in queues
    clocked.client.ask(B.Cancel(consumer_tag="t"))
    clocked.pass_time(0.9)
    assert "q" in queues
    clocked.pass_time(0.1)
    assert "q" not in queues


def test_heartbeats_are_sent_when_nothing_else_is_and_silence_ends_a_connection(clocked: Clocked) -> None:
    peer = Peer(clocked.broker, heartbeat=10)
    clocked.pass_time(4)
    peer.ask(B.Qos())
    clocked.pass_time(1)
    assert peer.received() == []
    clocked.pass_time(5)
    assert names(peer.received()) == ["heartbeat"]
    for _ in range(10):
        clocked.pass_time(5)
        assert names(peer.received()) == ["heartbeat"]
        peer.send_octets(HEARTBEAT_FRAME)
    clocked.pass_time(20)
    assert not peer.connection.closing
    clocked.pass_time(10)
    assert peer.connection.closing
    assert peer.connection not in clocked.broker.connections


def test_a_client_that_says_nothing_is_dropped(clocked: Clocked) -> None:
    silent = Peer(clocked.broker, open=False)
    silent.send_octets(PROTOCOL_HEADER)
    clocked.pass_time(9.9)
    assert not silent.connection.closing
    clocked.pass_time(0.1)
    assert silent.connection.closing


def test_a_client_that_does_not_answer_connection_close_is_dropped(clocked: Clocked) -> None:
    clocked.client.connection.close(320, "maintenance")
    close = clocked.client.received()[0]
    assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - maintenance")
    assert not clocked.client.connection.closing
    clocked.pass_time(5)
    assert clocked.client.connection.closing


def test_nothing_is_left_to_do_when_nobody_is_there(clocked: Clocked) -> None:
    clocked.client.ask(Q.Declare(queue="q", arguments={"x-message-ttl": 5000}))
    clocked.client.publish("q", b"1")
    clocked.client.connection.lost()
    clocked.pass_time(6)
    assert clocked.broker.next_timer() is None


def test_the_same_story_twice_gives_the_same_octets() -> None:
    def story() -> list[bytes]:
        clocked = Clocked()
        octets = []
        for step in (Q.Declare(), Q.Declare(exclusive=True), B.Consume(queue=""), B.Consume(queue="")):
            clocked.client.send(step)
            octets.append(clocked.client.take())
        return octets

    assert story() == story()
