"""Numbers over all sessions of the process, the departed ones included.

Lives here: `Totals`.  Must not know: who publishes them.  Sessions count for themselves; they are added up when
somebody asks, and kept when they go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from trabbits.frontend.runner import SessionRunner


class Totals:
    """`live` gives the sessions there are.  Everything else counts from the start of the process."""

    def __init__(self, live: Callable[[], Iterable[SessionRunner]]) -> None:
        self._live = live
        #: Clients that connected.
        self.connections = 0
        #: Sessions that ended otherwise than the client or an operator wanted.
        self.connection_errors = 0
        self._received_frames = 0
        self._sent_frames = 0
        self._received_octets = 0
        self._sent_octets = 0
        self._methods: Counter[int] = Counter()
        self._errored: Counter[int] = Counter()
        self._publishes: Counter[str] = Counter()
        self._deliveries: Counter[str] = Counter()

    def departed(self, runner: SessionRunner) -> None:
        """A session is over: keep its numbers."""
        session, observation = runner.session, runner.session.observation
        if session.ended_badly and not runner.shutdown_reason:
            self.connection_errors += 1
        self._received_frames += session.received_frames
        self._sent_frames += session.sent_frames
        self._received_octets += runner.received_octets
        self._sent_octets += runner.sent_octets
        self._methods.update(observation.methods())
        self._errored.update(observation.errored)
        self._publishes.update(observation.publishes())
        self._deliveries.update(observation.deliveries())

    @property
    def received_frames(self) -> int:
        """Frames from clients."""
        return self._received_frames + sum(runner.session.received_frames for runner in self._live())

    @property
    def sent_frames(self) -> int:
        """Frames to clients."""
        return self._sent_frames + sum(runner.session.sent_frames for runner in self._live())

    @property
    def received_octets(self) -> int:
        """Octets from clients."""
        return self._received_octets + sum(runner.received_octets for runner in self._live())

    @property
    def sent_octets(self) -> int:
        """Octets to clients."""
        return self._sent_octets + sum(runner.sent_octets for runner in self._live())

    @property
    def methods(self) -> dict[int, int]:
        """Methods exchanged with clients, by class and method id."""
        total = self._methods.copy()
        for runner in self._live():
            total.update(runner.session.observation.methods())
        return total

    @property
    def errored_methods(self) -> dict[int, int]:
        """Methods of clients that a channel or a connection was closed for, by class and method id; 0 for others."""
        total = self._errored.copy()
        for runner in self._live():
            total.update(runner.session.observation.errored)
        return total

    @property
    def publishes(self) -> dict[str, int]:
        """Messages that went to each upstream."""
        total = self._publishes.copy()
        for runner in self._live():
            total.update(runner.session.observation.publishes())
        return total

    @property
    def deliveries(self) -> dict[str, int]:
        """Messages that came from each upstream."""
        total = self._deliveries.copy()
        for runner in self._live():
            total.update(runner.session.observation.deliveries())
        return total
