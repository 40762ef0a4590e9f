"""Streams of events: what a reader gets who is fast, slow, silent or gone.

Not covered: sockets (``test_clients.py``).
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from trabbits.admin import events
from trabbits.admin.events import EventStream


class Transport:
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Channel:
    def __init__(self) -> None:
        self.transport = Transport()


class Request:
    """A request with a reader."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.producer: Any = None
        self.channel: Channel | None = Channel()

    def setHeader(self, name: bytes, value: bytes) -> None:
        self.headers[name] = value

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, octets: bytes) -> None:
        self.pieces.append(octets)

    @property
    def written(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def events(self) -> list[Any]:
        return [json.loads(line[6:]) for line in self.written.decode().split("\n\n") if line.startswith("data: ")]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def request_() -> Request:
    return Request()


@pytest.fixture
def stream(request_: Request, clock: Clock) -> EventStream:
    return EventStream(request_, clock)


def turns(clock: Clock, count: int = 100) -> None:
    for _ in range(count):
        clock.advance(0)


def test_the_head_comes_at_once(stream: EventStream, request_: Request) -> None:
    assert request_.headers[b"Content-Type"] == b"text/event-stream"
    assert request_.written.startswith(b":")


def test_events_in_their_order_then_the_end(stream: EventStream, request_: Request, clock: Clock) -> None:
    for number in range(3):
        stream.send(lambda number=number: {"number": number})  # type: ignore[misc]
    stream.send(lambda: '{"ready": "made"}')
    stream.end({"type": "end"})
    stream.send(lambda: {"too": "late"})
    turns(clock)
    assert request_.events == [{"number": 0}, {"number": 1}, {"number": 2}, {"ready": "made"}, {"type": "end"}]
    assert stream.finished.called
    assert request_.producer is None
    assert not clock.getDelayedCalls()


def test_few_are_made_in_one_turn(stream: EventStream, request_: Request, clock: Clock) -> None:
    for number in range(3 * events.BATCH):
        stream.send(lambda number=number: {"number": number})  # type: ignore[misc]
    turns(clock)
    assert [piece.count(b"data: ") for piece in request_.pieces[1:]] == [events.BATCH] * 3


def test_what_a_slow_reader_misses_is_counted(stream: EventStream, request_: Request, clock: Clock) -> None:
    """Nothing is made for a reader who takes nothing; where events are missing, the stream says how many."""
    made: list[int] = []

    def event(number: int) -> dict[str, Any]:
        made.append(number)
        return {"number": number}

    stream.pauseProducing()
    for number in range(events.QUEUE_LIMIT + 7):
        stream.send(partial(event, number))
    turns(clock)
    assert made == []
    stream.resumeProducing()
    turns(clock)
    assert request_.events[-2:] == [{"number": events.QUEUE_LIMIT - 1}, {"type": "dropped", "count": 7}]
    stream.drop(3)
    stream.end({"type": "end"})
    turns(clock)
    assert request_.events[-2:] == [{"type": "dropped", "count": 3}, {"type": "end"}]


def test_a_heartbeat_now_and_then(stream: EventStream, request_: Request, clock: Clock) -> None:
    before = request_.written
    for _ in range(3):
        clock.advance(events.HEARTBEAT)
    assert request_.written[len(before) :] == b": alive\n\n" * 3


def test_a_reader_who_takes_nothing_is_given_up(stream: EventStream, request_: Request, clock: Clock) -> None:
    channel = request_.channel
    assert channel is not None
    stream.pauseProducing()
    clock.advance(events.PATIENCE - 1)
    stream.resumeProducing()
    stream.pauseProducing()
    clock.advance(events.PATIENCE - 1)
    assert not channel.transport.aborted
    clock.advance(1)
    assert channel.transport.aborted
    assert not clock.getDelayedCalls()


def test_a_reader_who_goes_leaves_nothing(stream: EventStream, request_: Request, clock: Clock) -> None:
    cleaned: list[str] = []
    stream.when_over(lambda: cleaned.append("once"))
    stream.send(dict)
    request_.channel = None
    answer: Deferred[bytes] = stream.finished
    answer.cancel()
    assert cleaned == ["once"]
    stream.when_over(lambda: cleaned.append("late"))
    assert cleaned == ["once", "late"]
    assert not clock.getDelayedCalls()
