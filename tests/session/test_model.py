"""Whole fan sessions under random schedules: model brokers, a model client, chunks cut anywhere, tiny frames.

Whatever the order of things: nothing confirmed is lost, nothing acknowledged comes back, tags are one sequence, windows
hold, every request has one answer, frames of a message stay together, and in the end nothing is left anywhere.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.session.model import Broker
from tests.session.model_client import Client
from tests.session.playbook import Playbook
from tests.session.test_renaming import Prefixed
from trabbits.log_ids import LogId
from trabbits.session import fan
from trabbits.session.fan import FanRelay

FRAME_MAX = 100


class Simulation:
    """A session between a client and brokers, and who gets a move next."""

    def __init__(
        self, seed: int, names: str, frame_max: int, *, missing: str = "", probe: str = "", renaming: str = ""
    ) -> None:
        self.random = Random(seed)
        renamers = {name: Prefixed(f"{name}.") for name in renaming}
        self.brokers = {
            name: Broker(name, self.random, renamers[name].prefix if name in renamers else "") for name in names
        }
        self.client = Client(self.random, self.brokers, (1, 2))
        self.client.missing = missing
        self.play = Playbook(*names, *missing, optional=missing, probe=probe, rewriters=renamers, frame_min=8)
        # One of the links may take smaller frames than the client was allowed.
        smaller = {names[0]: frame_max - 20 if self.random.random() < 0.5 else frame_max}
        self.play.open(missing, link_frame_max=smaller, frame_max=frame_max)
        self.paused: set[str] = set()
        self.probed: list[int] = []
        self.counting: list[tuple[str, int]] = []

    @property
    def relay(self) -> FanRelay:
        relay = self.play.session.relay
        assert isinstance(relay, FanRelay)
        return relay

    def passed_on(self) -> None:
        """What the session sent reaches whom it is for."""
        play = self.play
        for shown in play.taken_actions():
            name, _, rest = shown.partition(" ")
            link, _, more = rest.partition(" ")
            if name == "PauseLink":
                self.paused.add(link)
            elif name == "ResumeLink":
                self.paused.remove(link)
            elif name == "ProbeQueue":
                self.probed.append(int(more.split()[1]))
            elif name not in ("SetTimer", "CancelTimer"):
                assert name == "CountMessages", shown
                self.counting.append((link, int(more.split()[1])))
        for name, broker in self.brokers.items():
            broker.receive(play.taken(name))
        self.client.receive(play.taken("client"))
        expected = (LogId.CHANNEL_CLOSED_BY_UPSTREAM, LogId.UPSTREAM_NOT_ATTACHED)
        wrong = [entry for entry, _ in play.logged if entry not in expected]
        assert not wrong, play.story()
        play.logged.clear()

    def pump(self) -> bool:
        """Some octets move; False when there are none."""
        moves = [name for name, broker in self.brokers.items() if broker.pending and name not in self.paused]
        if self.client.pending and not self.play.session.client_scanner.stalled:
            moves.append("client")
        if self.counting:
            moves.append("count")
        if self.probed:
            moves.append("probe")
        if not moves:
            return False
        who = self.random.choice(moves)
        if who == "client":
            self.play.client(self.client.chunk())
        elif who == "probe":
            token = self.probed.pop(self.random.randrange(len(self.probed)))
            self.play.do(lambda: self.play.session.queue_probed(token, self.random.random() < 0.5))
        elif who == "count":
            link, token = self.counting.pop(self.random.randrange(len(self.counting)))
            queue = self.brokers[link].queue
            self.play.do(lambda: self.play.session.messages_counted(token, len(queue)))
        else:
            self.play.link(who, self.brokers[who].chunk())
        self.passed_on()
        return True

    def step(self, *, trouble: float) -> None:
        """Anything that can happen next."""
        broker = self.random.choice(list(self.brokers.values()))
        match self.random.randint(0, 9):
            case 0 | 1 | 2:
                self.client.act(self.random.choice(list(self.client.channels)))
            case 3 | 4:
                broker.deliver()
            case 5:
                broker.confirm()
            case _:
                self.pump()
        if self.random.random() < trouble:
            self.random.choice([broker.cancel, broker.close])()

    def settle(self) -> None:
        """Everything comes to its end: all that is sent arrives, all that is delivered is acknowledged."""
        while True:
            moved = self.pump()
            for broker in self.brokers.values():
                moved |= broker.confirm()
                moved |= broker.deliver()
            for channel in self.client.channels:
                moved |= self.client.settle_all(channel)
            if not moved:
                return

    def check(self) -> None:
        """What must hold when nothing moves any more."""
        for broker in self.brokers.values():
            for state in broker.channels.values():
                assert not state.unacked, "a broker waits for an acknowledgement of what the client does not have"
            over = Counter(broker.gone) + Counter(broker.queue)
            assert over == Counter(broker.accepted), "a message was lost or came back"
        for channel, theirs in self.client.channels.items():
            assert not theirs.expected, "a request without an answer"
            assert not theirs.unconfirmed, "a publish without a confirm"
            ours = self.relay.channels.get(channel)
            if ours is None:
                continue
            assert not ours.deliveries.outstanding
            assert ours.unacked == 0
            assert not any(consumer.held or consumer.unacked for consumer in ours.consumers.values())
            assert ours.turns.occupant is None
            assert set(ours.consumers) == {tag.encode() for tag in theirs.consumers}
            assert not any(len(each.confirms) for each in ours.links.values())
        assert self.relay._held_octets == 0
        assert not self.paused
        assert not self.play.session.client_scanner.stalled
        assert not self.play.session.settle_due


def simulated(
    seed: int, names: str, *, steps: int, trouble: float, frame_max: int = FRAME_MAX, **options: str
) -> Simulation:
    """A simulation from beginning to end."""
    simulation = Simulation(seed, names, frame_max, **options)
    simulation.client.trouble = trouble > 0
    for _ in range(steps):
        simulation.step(trouble=trouble)
    simulation.settle()
    simulation.check()
    return simulation


@given(st.integers(0, 2**32 - 1), st.sampled_from(["ab", "abc"]))
@settings(max_examples=60)
def test_any_schedule(seed: int, names: str) -> None:
    simulated(seed, names, steps=300, trouble=0.0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_any_schedule_with_channels_and_consumers_that_end(seed: int) -> None:
    """Upstreams cancel consumers and close channels in the middle of everything."""
    simulated(seed, "ab", steps=300, trouble=0.02)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_any_schedule_with_little_memory(seed: int) -> None:
    """Links are paused all the time, and nothing locks up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fan, "HELD_MAX", 100)
        patch.setattr(fan, "WAITING_MAX", 100)
        simulated(seed, "ab", steps=300, trouble=0.005)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["a", "ab"]), st.sampled_from([0.0, 0.02]))
@settings(max_examples=40)
def test_any_schedule_with_an_upstream_missing(seed: int, names: str, trouble: float) -> None:
    """What is for it is rejected, in sequence; everything else is as ever, with one link or two."""
    simulated(seed, names, steps=300, trouble=trouble, missing="m")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["a", "ab"]), st.sampled_from([0.0, 0.02]))
@settings(max_examples=40)
def test_any_schedule_with_queues_that_are_probed(seed: int, probe: str, trouble: float) -> None:
    """Declares wait, and nothing behind them overtakes or stays behind."""
    simulated(seed, "ab", steps=300, trouble=trouble, probe=probe)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["b", "ab"]), st.sampled_from(["", "b"]), st.sampled_from([0.0, 0.02])
)
@settings(max_examples=60)
def test_any_schedule_with_queues_of_other_names(seed: int, renaming: str, probe: str, trouble: float) -> None:
    """Each upstream is told its names and the client its own, and all else is as ever."""
    simulated(seed, "ab", steps=300, trouble=trouble, renaming=renaming, probe=probe)


def test_the_models_do_something() -> None:
    """Over a few runs everything happens: deliveries, confirms, errors; or the tests above would prove nothing."""
    delivered = confirmed = errors = 0
    for seed in range(15):
        simulation = simulated(seed, "ab", steps=300, trouble=0.02)
        delivered += len(simulation.client.delivered)
        confirmed += sum(len(broker.confirmed) for broker in simulation.brokers.values())
        errors += simulation.client.errors
    assert delivered > 100
    assert confirmed > 50
    assert errors > 3
