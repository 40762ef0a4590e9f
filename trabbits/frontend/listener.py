"""The factory of clients' connections: makes sessions, knows the live ones, and lets them go.

Must not know: where is listened (``service.py``), what sessions do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from trabbits.frontend.admission import NamedPolicy
from trabbits.frontend.client_transport import ClientTransport
from trabbits.frontend.departed import Departed, DepartedSession
from trabbits.frontend.draining import Draining, Pace
from trabbits.frontend.protocol import ClientProtocol
from trabbits.frontend.runner import SessionRunner
from trabbits.frontend.totals import Totals
from trabbits.logs import SessionLog
from trabbits.session.session import Session
from trabbits.session.settings import SessionSettings
from trabbits.upstream.upstream import Upstream


class ClientFactory(Factory):
    """Makes a session for every client.  `settings`, `upstreams` and `policies` give what new sessions get."""

    noisy = False

    def __init__(
        self,
        settings: Callable[[], SessionSettings],
        upstreams: Callable[[], Mapping[str, Upstream]],
        reactor: Any,
        policies: Callable[[], Sequence[NamedPolicy]] = tuple,
    ) -> None:
        self.clock = reactor
        #: The live sessions by id.
        self.sessions: dict[str, SessionRunner] = {}
        #: Sessions that were asked to leave, or will be.
        self.draining = Draining(reactor)
        self.totals = Totals(self.sessions.values)
        #: Sessions that have gone.
        self.departed = Departed()
        self._settings = settings
        self._upstreams = upstreams
        self._policies = policies
        self._logger = Logger("trabbits.session")
        self._empty: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol:
        return ClientProtocol(self)

    def session_for(self, client: ClientTransport, address: str) -> SessionRunner:
        """A new session for a client that has just connected."""
        session_id = f"proxy-{secrets.token_hex(8)}"
        log = SessionLog(self._logger, session_id)
        policies = self._policies()
        session = Session(session_id, address, self._settings(), log, self.clock.seconds, guarded=bool(policies))
        runner = SessionRunner(
            session, client, self._upstreams(), self.clock, lambda: self._forget(session_id), policies
        )
        self.sessions[session_id] = runner
        self.totals.connections += 1
        return runner

    def close_sessions(
        self, code: int, text: str, pace: Pace, which: Callable[[SessionRunner], bool] = lambda _: True
    ) -> int:
        """Let sessions go properly, at this pace, and only these; how many.  `draining` knows when they are gone."""
        leaving: list[SessionRunner] = []
        staying: list[SessionRunner] = []
        for runner in self.sessions.values():
            (leaving if which(runner) else staying).append(runner)
        self.draining.spare(staying)
        self.draining.ask(leaving, code, text, pace)
        return len(leaving)

    def abort_all(self) -> int:
        """Drop every session; how many there were."""
        self.draining.stop()
        left = list(self.sessions.values())
        for runner in left:
            runner.abort()
        return len(left)

    def when_empty(self) -> Deferred[None]:
        """Fires when there is no session; nobody else may wait at the same time."""
        if not self.sessions:
            return succeed(None)
        self._empty = Deferred()
        return self._empty

    def _forget(self, session_id: str) -> None:
        runner = self.sessions.pop(session_id, None)
        if runner is not None:
            self.draining.gone(runner)
            self.totals.departed(runner)
            observation = runner.session.observation
            observation.condense()
            self.departed.add(DepartedSession(session_id, self.clock.seconds(), observation))
        if not self.sessions and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)
