"""How sessions leave: a burst, a steady rate, deadlines, and that nobody is asked twice.

Covered: `Draining` by itself, with sessions that are played.  Not covered: what closing a session does.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from trabbits.frontend.draining import OPENING_TICK, PER_TURN, TICK, Drained, Draining, Pace
from trabbits.session.phase import ENDING, Phase

REPLY = (320, "bye")


class FakeSession:
    def __init__(self, phase: Phase) -> None:
        self.phase = phase


class Client:
    """Counts as a session's runner; remembers when it was asked to leave, and with which words."""

    def __init__(self, room: Room, phase: Phase = Phase.RUNNING) -> None:
        self._room = room
        self.session: Any = FakeSession(phase)
        self.asked: list[tuple[float, int, str]] = []
        self.aborted = False
        self.gone = False

    def close(self, code: int, text: str) -> None:
        self.asked.append((self._room.clock.seconds(), code, text))
        if self._room.polite:
            self.leave()
        else:
            self.session.phase = Phase.CLOSING

    def abort(self) -> None:
        self.aborted = True
        self.leave()

    def leave(self) -> None:
        self.session.phase = Phase.CLOSED
        self.gone = True
        self._room.draining.gone(self)


class Room:
    """A `Draining` and its clients; `polite` ones are gone as soon as they are asked."""

    def __init__(self, count: int = 0, *, polite: bool = True) -> None:
        self.clock = Clock()
        self.draining = Draining(self.clock)
        self.polite = polite
        self.clients = [Client(self) for _ in range(count)]

    def ask(self, pace: Pace, text: str = "bye") -> None:
        self.draining.ask([client for client in self.clients if not client.gone], 320, text, pace)

    def advance(self, seconds: float, step: float = TICK / 4) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    @property
    def left(self) -> list[Client]:
        return [client for client in self.clients if client.asked]

    @property
    def times(self) -> list[float]:
        return sorted(client.asked[0][0] for client in self.left)


def result(draining: Draining) -> list[Drained]:
    results: list[Drained] = []
    draining.when_done().addCallback(results.append)
    return results


def test_nobody_to_ask() -> None:
    room = Room()
    room.ask(Pace(10, 100, 30))
    assert result(room.draining) == [Drained(0, 0.0)]
    assert not room.draining
    assert room.clock.getDelayedCalls() == []


def test_a_burst_at_once_and_the_rest_evenly() -> None:
    """10 at once, and from then on one every 10 ms: 100 per second."""
    room = Room(110)
    room.ask(Pace(10, 100, 30))
    done = result(room.draining)
    assert len(room.left) == 10
    room.advance(0.5)
    assert len(room.left) == pytest.approx(60, abs=1)
    room.advance(0.6)
    assert len(room.left) == 110
    gaps = [later - earlier for earlier, later in itertools.pairwise(room.times[10:])]
    assert max(gaps) <= 2 * TICK
    assert [drained.sessions for drained in done] == [110]
    assert done[0].seconds == pytest.approx(1.0, abs=0.05)
    assert all(len(client.asked) == 1 for client in room.clients)
    assert not room.draining
    assert room.clock.getDelayedCalls() == []


def test_a_low_rate_waits_as_long_as_it_must() -> None:
    room = Room(4)
    room.ask(Pace(1, 0.5, 30))
    room.advance(6.1, 0.05)
    assert room.times == pytest.approx([0, 2, 4, 6], abs=0.1)


def test_several_in_one_turn_when_the_rate_is_high() -> None:
    """Never more than a turn of the reactor can bear."""
    room = Room(5000)
    room.ask(Pace(10, 10_000, 30))
    room.advance(0.25, TICK)
    assert len(room.left) == pytest.approx(2510, abs=110)
    room.advance(0.3, TICK)
    assert len(room.left) == 5000
    room = Room(2 * PER_TURN + 1)
    room.ask(Pace(100_000, 1, 30))
    assert len(room.left) == PER_TURN
    room.clock.advance(0)
    room.clock.advance(0)
    assert len(room.left) == 2 * PER_TURN + 1


def test_a_reactor_that_was_busy_makes_up_for_it() -> None:
    """The rate holds over all, by the clock."""
    room = Room(300)
    room.ask(Pace(10, 100, 30))
    room.clock.advance(1.0)
    assert len(room.left) == 110
    room.advance(1.0)
    assert len(room.left) == pytest.approx(210, abs=1)


def test_whoever_is_left_at_the_deadline_is_asked_at_once() -> None:
    room = Room(1000)
    room.ask(Pace(10, 100, 2.0))
    room.advance(1.99)
    assert len(room.left) == pytest.approx(209, abs=2)
    room.advance(0.05)
    assert len(room.left) == 1000
    assert not room.draining


def test_done_means_gone() -> None:
    """Asked is not gone: a session has its own time to close."""
    room = Room(2, polite=False)
    room.ask(Pace(10, 100, 30))
    done = result(room.draining)
    room.clients[0].leave()
    room.clock.advance(5)
    assert not done
    assert room.draining
    room.clients[1].leave()
    assert done == [Drained(2, 5.0)]


def test_a_client_that_leaves_by_itself_is_not_asked() -> None:
    room = Room(3)
    room.ask(Pace(1, 1, 30))
    room.clients[1].leave()
    room.advance(1.5)
    assert [len(client.asked) for client in room.clients] == [1, 0, 1]
    assert not room.draining


@pytest.mark.parametrize("phase", sorted(ENDING, key=str))
def test_a_session_that_is_ending_is_only_waited_for(phase: Phase) -> None:
    room = Room(1)
    room.clients[0].session.phase = phase
    room.ask(Pace(10, 100, 30))
    assert room.left == []
    assert room.draining
    room.clients[0].leave()
    assert not room.draining


@pytest.mark.parametrize(
    "phase", [Phase.HANDSHAKE, Phase.AUTHENTICATING, Phase.TUNING, Phase.ADMITTING, Phase.CONNECTING]
)
def test_a_handshake_is_left_to_finish(phase: Phase) -> None:
    """Such a client is asked once it is open, and others do not wait for it."""
    room = Room(2)
    room.clients[0].session.phase = phase
    room.ask(Pace(1, 100, 30))
    assert room.left == [room.clients[1]]
    room.advance(1)
    assert room.left == [room.clients[1]]
    room.clients[0].session.phase = Phase.RUNNING
    room.advance(2 * OPENING_TICK)
    assert len(room.left) == 2
    assert not room.draining


def test_a_handshake_that_does_not_finish_is_asked_at_the_deadline() -> None:
    room = Room(1)
    room.clients[0].session.phase = Phase.CONNECTING
    room.ask(Pace(1, 100, 3))
    room.advance(2.9)
    assert room.left == []
    room.advance(0.2)
    assert len(room.left) == 1


def test_a_second_request_joins_the_first() -> None:
    """Nobody is asked twice, there is no second burst, the newer words count, and the earlier deadline of each."""
    room = Room(50)
    room.ask(Pace(10, 10, 3.0), "first")
    done = result(room.draining)
    room.advance(1.0)
    assert len(room.left) == pytest.approx(20, abs=1)
    room.clients += [Client(room) for _ in range(50)]
    room.ask(Pace(10, 10, 3.0), "second")
    assert len(room.left) == pytest.approx(20, abs=1)
    room.advance(2.05)
    assert all(client.asked for client in room.clients[:50])
    assert sum(bool(client.asked) for client in room.clients[50:]) <= 1
    room.advance(1.0)
    assert len(room.left) == 100
    assert all(len(client.asked) == 1 for client in room.clients)
    assert {client.asked[0][2] for client in room.clients[:15]} == {"first"}
    assert {client.asked[0][2] for client in room.clients[25:]} == {"second"}
    assert [drained.sessions for drained in done] == [100]


def test_a_burst_comes_back_at_the_rate() -> None:
    """Two requests shortly one after the other are no two bursts."""
    room = Room(10)
    room.ask(Pace(10, 10, 30))
    assert not room.draining
    room.clock.advance(0.5)
    room.clients += [Client(room) for _ in range(10)]
    room.draining.ask(room.clients[10:], *REPLY, Pace(10, 10, 30))
    assert len(room.left) == 15
    room.advance(1)
    room.clock.advance(100)
    room.clients += [Client(room) for _ in range(20)]
    room.draining.ask(room.clients[20:], *REPLY, Pace(10, 10, 30))
    assert len(room.left) == 30


def test_some_may_stay_after_all() -> None:
    """A session that was not asked yet is spared; one that was is not."""
    room = Room(3)
    room.clients[2].session.phase = Phase.TUNING
    room.ask(Pace(1, 1, 30))
    done = result(room.draining)
    room.draining.spare(room.clients)
    assert done == [Drained(1, 0.0)]
    room.advance(3)
    assert room.left == room.clients[:1]
    assert room.clock.getDelayedCalls() == []


def test_stopping_asks_nobody_any_more() -> None:
    room = Room(3)
    room.ask(Pace(1, 1, 30))
    room.draining.stop()
    assert room.clock.getDelayedCalls() == []
    assert len(room.left) == 1


def test_a_session_that_cannot_be_closed_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(2)
    monkeypatch.setattr(room.clients[0], "close", None)
    room.ask(Pace(10, 100, 30))
    assert room.clients[0].aborted
    assert not room.draining


@given(
    st.integers(1, 300),
    st.integers(1, 50),
    st.integers(1, 1000),
    st.floats(0.0, 3.0),
    st.lists(st.floats(0.001, 0.3), min_size=1, max_size=20),
)
def test_any_pace_on_any_clock(count: int, burst: int, rate: int, timeout: float, steps: list[float]) -> None:
    """At no time were more asked than the pace allows, everyone is asked exactly once, and by the deadline."""
    room = Room(count)
    room.ask(Pace(burst, rate, timeout))
    for step in itertools.chain(steps, itertools.repeat(0.1)):
        now = room.clock.seconds()
        if now < timeout:
            assert len(room.left) <= burst + rate * now + 1e-3
        if not room.draining:
            break
        room.clock.advance(step)
        assert room.clock.seconds() < timeout + 2.0
    assert all(len(client.asked) == 1 for client in room.clients)
    assert room.clock.getDelayedCalls() == []
