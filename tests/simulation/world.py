"""One simulation: brokers, clients, everything between them, and who gets a move next.

Lives here: `World`, the scheduler.  Must not know: what is checked (``checks.py``), what goes wrong (``faults.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.simulation import checks
from tests.simulation.client import Client, Life
from tests.simulation.clock import BrokerClock, Clock
from tests.simulation.codec import Frames
from tests.simulation.failure import Broken, demand
from tests.simulation.faults import Faults
from tests.simulation.ledger import Ledger, reporting_to
from tests.simulation.naming import RENAMED
from tests.simulation.options import FRAME_MIN, Options, options_of, settings_of
from tests.simulation.pipe import READ_MAX
from tests.simulation.program import Program
from tests.simulation.topology import set_up
from tests.simulation.trace import Trace
from trabbits.session import declares, fan
from trabbits.testing.broker import Broker
from trabbits.testing.broker.limits import Limits

if TYPE_CHECKING:
    from tests.simulation.link_end import LinkEnd
    from tests.simulation.pipe import Pipe

#: Rounds in which everything must have come to its end.
_ROUNDS = 400
#: Moves of octets within one round.
_MOVES = 20_000


class World:
    """Everything of one seed.  `steps` instead of as many as the seed would have."""

    def __init__(self, seed: int, steps: int | None = None) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.options: Options = options_of(self.random, steps)
        self.trace = Trace()
        self.clock = Clock()
        self.ledger = Ledger()
        self.pipes: list[Pipe] = []
        #: Ends whose broker has something for them although they sent nothing.
        self.woken: list[LinkEnd] = []
        self.down: set[str] = set()
        self.clients: list[Client] = []
        self.queue_names = list(self.options.queues)
        #: Whether all frames are large enough for headers of messages that died.
        self.room_for_headers = min(self.options.link_frame_max.values()) >= 4000
        self.settings = settings_of(self.options)
        self.brokers: dict[str, Broker] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._splitters: dict[str, Frames] = {}
        self._made = 0
        self._chunks = self.options.chunks
        #: How many moves of octets in a row.
        self._bursts = self.random.choice(((1,), (1, 2, 5), (3, 8)))

    # What its parts use

    def soon(self, act: Callable[[], None]) -> None:
        """Do something, but not at once."""
        self._soon.append(act)

    def frames_of(self, name: str, octets: bytes) -> list[bytes]:
        """The frames that are whole with these octets of the stream of this name."""
        splitter = self._splitters.get(name)
        if splitter is None:
            splitter = self._splitters[name] = Frames(name)
        if len(splitter.rest) > 1 << 20:
            return []
        try:
            return splitter.feed(octets)
        except Broken:
            # What clients send is trabbits' to judge.
            return []

    def whole_frames(self, name: str, octets: bytes) -> list[bytes]:
        """Frames that trabbits sends in one go: whole ones."""
        splitter = Frames(name)
        frames = splitter.feed(octets)
        demand(not splitter.rest, "framing", f"{name}: a frame is cut: {splitter.rest!r}")
        return frames

    def new_client(self) -> Client:
        self._made += 1
        client = Client(self, f"s{self._made}", self.settings)
        self.clients.append(client)
        return client

    # The run

    def run(self) -> None:
        """From the beginning to the end.  Raises `Broken`, or whatever trabbits raises."""
        with reporting_to(self.ledger), self._patched():
            self._begin()
            for _ in range(self.options.steps):
                self._step()
            self._end()

    @contextmanager
    def _patched(self) -> Iterator[None]:
        """Names from the seed, and bounds that are reached."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(declares, "secrets", self)
            if self.options.held_max:
                patch.setattr(fan, "HELD_MAX", self.options.held_max)
                patch.setattr(fan, "WAITING_MAX", self.options.held_max)
            yield

    def token_urlsafe(self, size: int) -> str:
        return f"{self.random.getrandbits(8 * size):x}"

    def _begin(self) -> None:
        options = self.options
        for name in options.names:
            limits = Limits(frame_max=options.link_frame_max[name], heartbeat=0, frame_min=FRAME_MIN)
            clock = BrokerClock(self.clock, name)
            broker = self.brokers[name] = Broker(name, clock=clock.seconds, random=Random(self.seed), limits=limits)
            prefix = self.ledger.prefixes[name] = RENAMED if name in options.rename else ""
            set_up(broker, self.queue_names, options.names, prefix)
        self.down = set(options.down)
        if set(options.names) == self.down:
            self.down.discard(options.names[0])
        self.program = Program(self)
        self.faults = Faults(self)
        for _ in range(options.clients):
            self.new_client()
        # Most of what is to be seen happens once clients are in.
        if self.random.random() < 0.9:
            for _ in range(200):
                if all(client.life is not Life.OPENING for client in self.clients) or not self._move():
                    break

    def _step(self) -> None:
        random = self.random
        roll = random.random()
        if roll < 0.5:
            for _ in range(random.choice(self._bursts)):
                self._move()
        elif roll < 0.97:
            self.program.step(random.choice(self.clients))
        else:
            self._pass(random.choice((0.05, 0.3, 1.2, 3.0)))
        if random.random() < self.options.faults:
            self.faults.step()
        self._collect()

    def _collect(self) -> None:
        while self.woken:
            self.woken.pop().collect()

    def _pass(self, seconds: float) -> None:
        """Time passes, for everybody."""
        until = self.clock.now + seconds
        while (due := self._next()) is not None and due <= until:
            self._at(due)
        self._at(until)

    def _next(self) -> float | None:
        """When anything is due."""
        due = (self.clock.next(), *(broker.next_timer() for broker in self.brokers.values()))
        return min((when for when in due if when is not None), default=None)

    def _at(self, when: float) -> None:
        self.trace.now = when
        self.clock.pass_until(when)
        for broker in self.brokers.values():
            broker.advance()
        self._collect()

    def _move(self) -> bool:
        """Something that is on its way arrives; False when there is nothing."""
        if self._soon and self.random.random() < 0.5:
            self._soon.popleft()()
            self._collect()
            return True
        ready = [pipe for pipe in self.pipes if (pipe.octets or pipe.closed) and pipe.ready]
        if not ready:
            if not self._soon:
                return False
            self._soon.popleft()()
        else:
            pipe = self.random.choice(ready) if len(ready) > 1 else ready[0]
            pipe.move(self._chunk(len(pipe.octets)))
        self._collect()
        return True

    def _chunk(self, size: int) -> int:
        kind, random = self._chunks, self.random
        size = min(size, READ_MAX)
        if kind == "whole" or size <= 1:
            return size
        if kind == "octets":
            return min(size, random.choice((1, 1, 1, 2, 30)))
        if kind == "small":
            return min(size, random.randint(1, 60))
        return size if random.random() < 0.5 else random.randint(1, size)

    # The end

    def _end(self) -> None:
        self.trace.event("", "no faults any more: everything comes to its end")
        self.faults.stop()
        self._collect()
        self._chunks = "mixed"
        for _ in range(_ROUNDS):
            self._come_to_rest()
            if any(client.push_all() for client in self.clients):
                continue
            checks.at_rest(self)
            moved = False
            for client in self.clients:
                for state in list(client.channels.values()):
                    if client.life is Life.OPEN:
                        moved |= self.program.settle_all(client, state)
            if not moved and not self._wait():
                break
        else:
            raise Broken("nothing is stuck", "it does not come to rest")
        checks.settled(self)
        for client in self.clients:
            if client.life is Life.OPEN:
                if self.random.random() < 0.7:
                    client.close()
                else:
                    client.vanish()
        for _ in range(_ROUNDS):
            self._come_to_rest()
            if not self._wait():
                break
        checks.gone(self)

    def _come_to_rest(self) -> None:
        for _ in range(_MOVES):
            if not self._move():
                return
        raise Broken("nothing is stuck", "octets go round and round")

    def _wait(self) -> bool:
        """Let time pass if anybody waits for that."""
        if not any(client.surroundings.unfinished for client in self.clients):
            return False
        due = self._next()
        if due is None:
            return False
        self._at(max(self.clock.now, due))
        return True
