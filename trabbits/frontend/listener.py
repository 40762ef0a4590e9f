"""The factory of clients' connections: makes sessions, knows the live ones, and can close them all.

Must not know: where is listened (``service.py``), what sessions do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from trabbits.frontend.client_transport import ClientTransport
from trabbits.frontend.protocol import ClientProtocol
from trabbits.frontend.runner import SessionRunner
from trabbits.logs import SessionLog
from trabbits.session.session import Session
from trabbits.session.settings import SessionSettings
from trabbits.upstream.upstream import Upstream


class ClientFactory(Factory):
    """Makes a session for every client.  `settings` and `upstreams` give what new sessions get."""

    noisy = False

    def __init__(
        self, settings: Callable[[], SessionSettings], upstreams: Callable[[], Mapping[str, Upstream]], reactor: Any
    ) -> None:
        self.clock = reactor
        #: The live sessions by id.
        self.sessions: dict[str, SessionRunner] = {}
        self._settings = settings
        self._upstreams = upstreams
        self._logger = Logger("trabbits.session")
        self._empty: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol:
        return ClientProtocol(self)

    def session_for(self, client: ClientTransport, address: str) -> SessionRunner:
        """A new session for a client that has just connected."""
        session_id = f"proxy-{secrets.token_hex(8)}"
        session = Session(session_id, address, self._settings(), SessionLog(self._logger, session_id))
        runner = SessionRunner(session, client, self._upstreams(), self.clock, lambda: self._forget(session_id))
        self.sessions[session_id] = runner
        return runner

    def close_all(self, code: int, text: str, timeout: float) -> Deferred[None]:
        """Close every session properly, drop what is left after `timeout` seconds.  Never fails."""
        if not self.sessions:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._empty = done
        late = self.clock.callLater(timeout, self._abort_all)
        for runner in list(self.sessions.values()):
            runner.close(code, text)

        def over(result: None) -> None:
            if late.active():
                late.cancel()

        return done.addCallback(over)

    def _abort_all(self) -> None:
        for runner in list(self.sessions.values()):
            runner.abort()

    def _forget(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        if not self.sessions and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)
