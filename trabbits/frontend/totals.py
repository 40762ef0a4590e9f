"""Numbers over all sessions of the process, the departed ones included.

Lives here: `Sums` and `Totals`.  Must not know: who publishes them.  Sessions count for themselves; they are added up
when somebody asks, and kept when they go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from attrs import define, evolve, field

from trabbits.frontend.runner import SessionRunner
from trabbits.wire.methods import METHODS


@define
class Sums:
    """What some sessions have counted."""

    #: From clients, and to them.
    received_frames: int = 0
    sent_frames: int = 0
    received_octets: int = 0
    sent_octets: int = 0
    #: Methods exchanged with clients, by class and method id; 0 for those that do not exist.
    methods: Counter[int] = field(factory=Counter)
    #: Methods of clients that a channel or a connection was closed for, by class and method id; 0 for others.
    errored_methods: Counter[int] = field(factory=Counter)
    #: Messages that went to each upstream, and that came from it.
    publishes: Counter[str] = field(factory=Counter)
    deliveries: Counter[str] = field(factory=Counter)
    #: Copies for each upstream that were handed to its link, and that were dropped.
    copies_sent: Counter[str] = field(factory=Counter)
    copies_dropped: Counter[str] = field(factory=Counter)

    def include(self, runner: SessionRunner) -> None:
        """Add what one session has counted so far."""
        session, observation = runner.session, runner.session.observation
        self.received_frames += session.received_frames
        self.sent_frames += session.sent_frames
        self.received_octets += runner.received_octets
        self.sent_octets += runner.sent_octets
        self.methods.update(_existing(observation.methods()))
        self.errored_methods.update(_existing(observation.errored))
        self.publishes.update(observation.publishes())
        self.deliveries.update(observation.deliveries())
        for upstream, (sent, dropped) in session.copies().items():
            self.copies_sent[upstream] += sent
            self.copies_dropped[upstream] += dropped

    def copy(self) -> Sums:
        """One to go on with."""
        return evolve(
            self,
            methods=self.methods.copy(),
            errored_methods=self.errored_methods.copy(),
            publishes=self.publishes.copy(),
            deliveries=self.deliveries.copy(),
            copies_sent=self.copies_sent.copy(),
            copies_dropped=self.copies_dropped.copy(),
        )


def _existing(counts: Mapping[int, int]) -> Mapping[int, int]:
    """One number for all that clients made up: they are kept for as long as the process runs."""
    if counts.keys() <= METHODS.keys():
        return counts
    known = Counter({index: count for index, count in counts.items() if index in METHODS})
    known[0] = sum(counts.values()) - known.total()
    return known


class Totals:
    """`live` gives the sessions there are.  Everything counts from the start of the process.

    With many sessions, adding up all of them takes too long to do it at once: copy `gone`, and in the same moment note
    which sessions there are; then include these, in as many steps as it needs, also those that leave meanwhile.
    """

    def __init__(self, live: Callable[[], Iterable[SessionRunner]]) -> None:
        self._live = live
        #: Clients that connected.
        self.connections = 0
        #: Sessions that ended otherwise than the client or an operator wanted.
        self.connection_errors = 0
        #: What the departed sessions have counted.
        self.gone = Sums()

    def departed(self, runner: SessionRunner) -> None:
        """A session is over: keep its numbers."""
        if runner.session.ended_badly and not runner.shutdown_reason:
            self.connection_errors += 1
        self.gone.include(runner)

    @property
    def publishes(self) -> dict[str, int]:
        """Messages that went to each upstream."""
        total = self.gone.publishes.copy()
        for runner in self._live():
            total.update(runner.session.observation.publishes())
        return total

    @property
    def deliveries(self) -> dict[str, int]:
        """Messages that came from each upstream."""
        total = self.gone.deliveries.copy()
        for runner in self._live():
            total.update(runner.session.observation.deliveries())
        return total
