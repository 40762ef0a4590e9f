"""The faults of the embedded broker, without sockets: what a client is told, and what becomes of its messages.

Covered: each fault at each kind of moment, strikes, recovery.  What a proxy makes of them: ``test_faults_behind.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import frozen

from tests.session.frames import (
    PROTOCOL_HEADER,
    Basic,
    Channel,
    Confirm,
    Connection,
    Queue,
    decoded,
    on,
    publish,
    split,
)
from trabbits.testing.broker import (
    Broker,
    CloseChannel,
    CloseConnection,
    Delay,
    Drop,
    Faults,
    HalfOpen,
    SlowReading,
    from_client,
    to_client,
)
from trabbits.testing.broker.faults import Fault

LOGIN = on(0, Connection.StartOk({"capabilities": {"authentication_failure_close": True}}, response="\0guest\0guest"))
TUNE_OK = on(0, Connection.TuneOk(100, 131072, 0))
OPEN = on(0, Connection.Open("/"))
HANDSHAKE = (PROTOCOL_HEADER, LOGIN, TUNE_OK + OPEN, on(1, Channel.Open(), Confirm.Select(), Queue.Declare(queue="q")))
WELCOME = ["Connection.Start", "Connection.Tune", "Connection.OpenOk"]
WELCOME += ["Channel.OpenOk", "Confirm.SelectOk", "Queue.DeclareOk"]


class Client:
    """Somebody who talks to the broker in frames.  `woken` says that the broker had something to say by itself."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.time = 100.0
        self.woken = False
        self.wakes = 0
        self._heard: list[str] = []
        self.broker = Broker(clock=lambda: self.time, faults=self.faults)
        self.line = self.broker.accept("192.0.2.1:1", self._wake)
        self._look()

    def _wake(self) -> None:
        self.woken = True
        self.wakes += 1

    def _look(self) -> None:
        self.woken = False
        while self.line.output:
            for frame in split(b"".join(self.line.output)):
                self._heard.append(name(frame))
            self.line.output.clear()

    def say(self, *octets: bytes) -> Client:
        for each in octets:
            self.line.received(each)
            self._look()
        return self

    def hears(self) -> list[str]:
        """The methods that have come since the last time, those of content without its other frames."""
        self._look()
        heard, self._heard = [each for each in self._heard if each], []
        return heard

    def wait(self, seconds: float) -> Client:
        self.time += seconds
        self.broker.advance()
        if self.woken:
            self._look()
        return self

    @property
    def stored(self) -> int:
        """Messages in the queue."""
        queue = self.broker.vhost().queues.get("q")
        return len(queue.ready) if queue is not None else -1


def name(octets: bytes) -> str:
    """A method without its arguments, but for the reason where something is closed."""
    if octets[:1] != b"\x01":
        return ""
    method = decoded(octets)
    if isinstance(method, Channel.Close | Connection.Close):
        return f"{method.name} {method.reply_code} {method.reply_text}"
    return method.name


def opened(prepare: Callable[[Faults], object] = lambda _: None) -> Client:
    """One with a channel in confirm mode and a queue."""
    client = Client()
    prepare(client.faults)
    client.say(*HANDSHAKE)
    client.hears()
    return client


MESSAGE = publish(1, "q", b"m", exchange="")
CLOSED = "closed by a test"


@frozen
class Case:
    """What is planned before a client connects, and what one hears that then sends two messages."""

    title: str
    plan: Callable[[Faults], object]
    hears: list[str]
    stored: int
    closed: bool = False


CASES = [
    Case("nothing", lambda _: None, [*WELCOME, "Basic.Ack", "Basic.Ack"], 2),
    Case("dropped when it connects", lambda f: f.plan(Drop()), [], -1, closed=True),
    Case(
        "a login refused",
        lambda f: f.plan(CloseConnection(403, "no"), from_client(method="connection.start-ok")),
        ["Connection.Start", "Connection.Close 403 ACCESS_REFUSED - no"],
        -1,
    ),
    Case(
        "a virtual host refused",
        lambda f: f.plan(CloseConnection(530, "vhost is down"), from_client(method="connection.open")),
        [*WELCOME[:2], "Connection.Close 530 NOT_ALLOWED - vhost is down"],
        -1,
    ),
    Case("dropped at a frame of the client's", lambda f: f.plan(Drop(), from_client(3)), WELCOME[:2], -1, closed=True),
    Case("dropped at a frame of the broker's", lambda f: f.plan(Drop(), to_client(3)), WELCOME[:2], -1, closed=True),
    Case(
        "dropped at a method of the client's",
        lambda f: f.plan(Drop(), from_client(2, "basic.publish")),
        [*WELCOME, "Basic.Ack"],
        1,
        closed=True,
    ),
    Case(
        "dropped instead of a confirm",
        lambda f: f.plan(Drop(), to_client(2, "basic.ack")),
        [*WELCOME, "Basic.Ack"],
        2,
        closed=True,
    ),
    Case(
        "a channel closed instead of a publish",
        lambda f: f.plan(CloseChannel(404, "gone"), from_client(2, "basic.publish")),
        [*WELCOME, "Basic.Ack", "Channel.Close 404 NOT_FOUND - gone"],
        1,
    ),
    Case(
        "a channel closed after a confirm",
        lambda f: f.plan(CloseChannel(406, "enough"), to_client(1, "basic.ack")),
        [*WELCOME, "Basic.Ack", "Channel.Close 406 PRECONDITION_FAILED - enough"],
        1,
    ),
    Case(
        "a connection closed instead of a declare",
        lambda f: f.plan(CloseConnection(), from_client(method="queue.declare")),
        [*WELCOME[:5], f"Connection.Close 320 CONNECTION_FORCED - {CLOSED}"],
        -1,
    ),
    Case("half open from the beginning", lambda f: f.plan(HalfOpen()), [], -1),
    Case(
        "half open in the middle",
        lambda f: f.plan(HalfOpen(), from_client(2, "basic.publish")),
        [*WELCOME, "Basic.Ack"],
        1,
    ),
    Case("half open before a confirm", lambda f: f.plan(HalfOpen(), to_client(1, "basic.ack")), WELCOME, 1),
    Case("for others only", lambda f: f.plan(Drop(), connections=0), [*WELCOME, "Basic.Ack", "Basic.Ack"], 2),
    Case(
        "at a moment that never comes",
        lambda f: f.plan(Drop(), from_client(100)),
        [*WELCOME, "Basic.Ack", "Basic.Ack"],
        2,
    ),
]


@pytest.mark.parametrize("chunks", ["whole", "octet by octet"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_planned(case: Case, chunks: str) -> None:
    faults = Faults()
    case.plan(faults)
    client = Client(faults)
    for octets in (*HANDSHAKE, MESSAGE, MESSAGE):
        client.say(*([octets] if chunks == "whole" else [octets[at : at + 1] for at in range(len(octets))]))
    assert client.hears() == case.hears
    assert client.stored == case.stored
    assert client.line.closing == case.closed


@pytest.mark.parametrize(
    ("fault", "hears", "closed"),
    [
        (Drop(), [], True),
        (CloseConnection(320, "maintenance"), ["Connection.Close 320 CONNECTION_FORCED - maintenance"], False),
        (CloseChannel(405, "locked"), ["Channel.Close 405 RESOURCE_LOCKED - locked"], False),
        (HalfOpen(), [], False),
        (Delay(to_client=1), [], False),
        (SlowReading(1000), ["Basic.Ack"], False),
    ],
)
def test_strikes(fault: Fault, hears: list[str], closed: bool) -> None:
    """What happens to a connection that there is; then it publishes."""
    client = opened()
    assert client.faults.strike(fault) == 1
    client.say(MESSAGE)
    assert client.hears() == hears
    assert client.line.closing == closed


def test_strikes_hit_those_that_are_meant() -> None:
    client = opened()
    assert client.faults.strike(Drop(), lambda line: line.vhost == "/elsewhere") == 0
    assert client.faults.strike(Drop(), lambda line: line.user == "guest" and line.vhost == "/") == 1
    assert client.faults.strike(Drop()) == 0, "it is gone"


def test_frames_from_the_client_are_delayed_and_stay_in_order() -> None:
    client = opened(lambda faults: faults.plan(Delay(from_client=2), from_client(method="basic.publish")))
    client.say(MESSAGE).wait(1).say(MESSAGE, on(1, Queue.Declare(queue="q", passive=True))).wait(0.9)
    assert (client.stored, client.hears()) == (0, [])
    client.wait(0.1)
    assert (client.stored, client.hears()) == (1, ["Basic.Ack"])
    client.wait(1)
    assert (client.stored, client.hears()) == (2, ["Basic.Ack", "Queue.DeclareOk"])


def test_what_is_sent_later_does_not_overtake() -> None:
    client = opened()
    client.faults.strike(Delay(from_client=2))
    client.say(publish(1, "q", b"first", exchange=""))
    client.faults.strike(Delay())
    client.say(publish(1, "q", b"second", exchange=""))
    client.wait(2)
    assert [entry.message.body for entry in client.broker.vhost().queues["q"].ready] == [b"first", b"second"]


def test_only_the_channel_of_the_frame_is_closed() -> None:
    client = opened()
    client.faults.plan(CloseChannel(404, "gone"), from_client(method="basic.qos"))
    client.say(on(2, Channel.Open(), Basic.Qos()), on(1, Basic.Qos()))
    assert client.hears() == ["Channel.OpenOk", "Channel.Close 404 NOT_FOUND - gone", "Basic.QosOk"]


def test_a_channel_that_is_not_open_cannot_be_closed() -> None:
    client = Client()
    client.faults.plan(CloseChannel(), from_client(method="connection.tune-ok"))
    client.faults.plan(CloseChannel(), from_client(method="channel.open"))
    assert client.say(*HANDSHAKE).hears() == WELCOME


def test_frames_to_the_client_are_delayed_also_the_last_one() -> None:
    client = opened()
    client.faults.strike(Delay(to_client=2))
    client.say(MESSAGE).wait(1).say(on(0, Connection.Close(200, "bye", 0, 0)))
    assert (client.stored, client.hears(), client.line.closing) == (1, [], False)
    client.wait(1)
    assert (client.hears(), client.line.closing) == (["Basic.Ack"], False)
    client.wait(1)
    assert (client.hears(), client.line.closing) == (["Connection.CloseOk"], True)


def test_what_is_under_way_is_bounded() -> None:
    """A client whose frames take long is not read from, and one whose deliveries take long gets no more of them."""
    client = opened()
    client.faults.strike(Delay(from_client=5))
    megabyte = publish(1, "q", bytes(1024 * 1024 // 3), exchange="")
    for _ in range(4):
        client.say(megabyte)
    assert not client.line.reading
    client.wait(5)
    assert client.line.reading
    assert client.stored == 4
    client.faults.clear()
    client.faults.strike(Delay(to_client=5))
    client.say(*[megabyte] * 16, on(1, Basic.Consume(queue="q", no_ack=True)))
    assert client.stored >= 12
    for _ in range(20):
        client.wait(5)
    assert client.stored == 0
    assert client.hears().count("Basic.Deliver") == 20


def test_slow_reading_keeps_to_its_rate() -> None:
    client = opened()
    client.faults.strike(SlowReading(len(MESSAGE) / 2))
    client.say(MESSAGE)
    assert not client.line.reading
    client.wait(1.9)
    assert not client.line.reading
    woken = client.wakes
    client.wait(0.2)
    assert client.line.reading
    assert client.wakes > woken, "somebody has to go on reading"


def test_nothing_goes_wrong_any_more() -> None:
    client = opened()
    client.faults.strike(Delay(1, 1))
    client.faults.strike(SlowReading(1))
    client.say(MESSAGE)
    client.faults.plan(Drop())
    client.faults.clear()
    assert (client.stored, client.hears(), client.line.reading) == (1, ["Basic.Ack"], True)
    assert not Client(client.faults).line.closing


def test_who_was_half_open_is_dropped_in_the_end() -> None:
    client = opened()
    client.faults.strike(HalfOpen())
    client.faults.clear()
    assert client.line.closing


def test_a_plan_for_some_connections() -> None:
    faults = Faults()
    faults.plan(Drop(), from_client(2), connections=2)
    closed = []
    for _ in range(4):
        client = Client(faults).say(*HANDSHAKE)
        closed.append(client.line.closing)
    assert closed == [True, True, False, False]


def test_what_is_no_amqp_is_still_the_brokers_affair() -> None:
    client = Client().say(b"GET / HTTP/1.1\r\n\r\n")
    assert client.line.closing
    client = opened().say(b"\x01\x00\x01\x7f\xff\xff\xff", bytes(8))
    assert client.hears()[0].startswith("Connection.Close 501")
    client = opened().say(b"\x07\x00\x01\x00\x00\x00\x00\xce")
    assert client.hears()[0].startswith("Connection.Close 501")


def test_a_gone_client_leaves_nothing_behind() -> None:
    client = opened()
    client.faults.strike(Delay(1, 1))
    client.say(MESSAGE)
    client.line.lost()
    assert client.faults.strike(Drop()) == 0
    assert (client.broker.connections, client.broker.next_timer()) == ({}, None)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: from_client(0), "counted from 1, not 0"),
        (lambda: SlowReading(0), "must be > 0"),
        (lambda: Delay(to_client=-1), "must be >= 0"),
        (lambda: to_client(method="Basic.Publish"), "no method 'Basic.Publish'"),
    ],
)
def test_faults_and_moments_that_cannot_be(wrong: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        wrong()
