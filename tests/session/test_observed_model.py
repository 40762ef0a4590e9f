"""What onlookers are told, compared with what both ends of a session know, under random schedules.

The models of `test_model.py` exchange anything; whenever nothing is on its way, the session's numbers must be theirs:
methods, frames, publishes and deliveries, what is not acknowledged and not confirmed.  A watcher that was there from
the beginning has seen every method once, on each side that it passed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.session.frames import decoded, split
from tests.session.model import Peer
from tests.session.test_model import FRAME_MAX, Simulation
from trabbits.session.observation import MethodEvent
from trabbits.session.plain import PlainRelay
from trabbits.wire.methods import METHODS

#: Direction, upstream, channel, method, delivery tag.
Seen = tuple[str, str, int, str, int | None]


class Books:
    """Everything that one end sent and was sent."""

    def __init__(self, peer: Peer) -> None:
        self.sent: list[bytes] = []
        self.taken: list[bytes] = []
        send, receive = peer.send, peer.receive

        def sends(channel: int, octets: bytes) -> None:
            self.sent += split(octets)
            send(channel, octets)

        def receives(frames: list[bytes]) -> None:
            self.taken += frames
            receive(frames)

        peer.send = sends  # type: ignore[method-assign]
        peer.receive = receives  # type: ignore[method-assign]


class Watched(Simulation):
    """A simulation with an onlooker, and accounts to compare with what it sees."""

    def __init__(self, seed: int, names: str, **options: Any) -> None:
        super().__init__(seed, names, FRAME_MAX, **options)
        session = self.play.session
        self.plain = isinstance(session.relay, PlainRelay)
        self.books = {name: Books(broker) for name, broker in self.brokers.items()}
        self.client_books = Books(self.client)
        self.before = Counter(session.observation.methods())
        self.frames_before = session.received_frames, session.sent_frames
        self.seen: list[Seen] = []
        session.observation.watch(lambda events: self.seen.extend(map(_seen, events)))

    def quiet(self) -> None:
        """All that is on its way arrives; nobody does anything else."""
        while self.pump():
            pass

    def compare(self) -> None:
        session, client = self.play.session, self.client_books
        methods = Counter(_index(each) for each in client.sent + client.taken if each[0] == 1)
        assert Counter(session.observation.methods()) - self.before == methods, self.play.story()
        assert session.received_frames - self.frames_before[0] == len(client.sent)
        if self.plain:
            assert session.sent_frames - self.frames_before[1] == len(client.taken)
        for name, broker in self.brokers.items():
            link, books = self.play.links[name], self.books[name]
            states = broker.channels.values()
            assert session.unacknowledged(link) == sum(len(each.unacked) for each in states), self.play.story()
            assert session.unconfirmed(link) == sum(len(each.unconfirmed) for each in states), self.play.story()
            publishes = [each for each in books.taken if _is(each, "Basic.Publish")]
            assert session.observation.publishes().get(name, 0) == len(publishes)
            deliveries = [each for each in books.sent if _is(each, "Basic.Deliver", "Basic.GetOk")]
            assert session.observation.deliveries().get(name, 0) == len(deliveries)
        assert session.channel_count == sum(state.open for state in self.client.channels.values())
        assert session.consumer_count == sum(len(state.consumers) for state in self.client.channels.values())

    def compare_events(self) -> None:
        expected = [*_ways("c→t", "", self.client_books.sent), *_ways("t→c", "", self.client_books.taken)]
        for name, books in self.books.items():
            expected += [*_ways("t→u", name, books.taken), *_ways("u→t", name, books.sent)]
        assert Counter(self.seen) == Counter(expected)
        if self.plain:
            # In the order in which they were sent, too.
            for way in {each[:3] for each in expected}:
                assert [each for each in self.seen if each[:3] == way] == [e for e in expected if e[:3] == way]


def _seen(event: MethodEvent) -> Seen:
    tag = event.arguments.get("delivery_tag")
    return event.direction, event.upstream, event.channel, event.method, tag


def _index(frame: bytes) -> int:
    return int.from_bytes(frame[7:11], "big")


def _is(frame: bytes, *methods: str) -> bool:
    return frame[0] == 1 and METHODS[_index(frame)].frame_class.name in methods


def _ways(direction: str, upstream: str, frames: list[bytes]) -> list[Seen]:
    return [
        (direction, upstream, int.from_bytes(each[1:3], "big"), method.name, getattr(method, "delivery_tag", None))
        for each in frames
        if each[0] == 1
        for method in [decoded(each)]
    ]


def watched(seed: int, names: str, *, trouble: float, **options: str) -> None:
    simulation = Watched(seed, names, **options)
    simulation.client.trouble = trouble > 0
    for _ in range(6):
        for _ in range(50):
            simulation.step(trouble=trouble)
        simulation.quiet()
        simulation.compare()
    simulation.compare_events()


SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.sampled_from([0.0, 0.02]))
@settings(max_examples=60)
def test_plain_sessions_are_seen_as_they_are(seed: int, trouble: float) -> None:
    watched(seed, "a", trouble=trouble)


@given(SEEDS, st.sampled_from(["ab", "abc"]), st.sampled_from([0.0, 0.02]))
@settings(max_examples=60)
def test_fan_sessions_are_seen_as_they_are(seed: int, names: str, trouble: float) -> None:
    watched(seed, names, trouble=trouble)


@given(SEEDS, st.sampled_from(["a", "ab"]), st.sampled_from([0.0, 0.02]))
@settings(max_examples=40)
def test_sessions_whose_declares_wait_are_seen_as_they_are(seed: int, names: str, trouble: float) -> None:
    watched(seed, names, trouble=trouble, probe="a")
