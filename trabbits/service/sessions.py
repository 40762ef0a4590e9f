"""The end of all sessions when the process stops.

Lives here: `SessionsService`: who is told what, how long they are waited for.  Must not know: how sessions are made, or
at which pace they leave (``trabbits.frontend.draining``).
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from trabbits.config import Config
from trabbits.frontend.draining import Pace
from trabbits.log_ids import LogId
from trabbits.logs import EventLog

#: What clients are told when the process stops; RabbitMQ's code and name for it.
FAREWELL = (320, "CONNECTION_FORCED - Server shutting down")
#: Seconds before the end at which whoever is left is told to leave, so that it has the time to answer.
LAST_CALL = 1.0
#: Seconds that dropped sessions may take to be gone.
GRACE = 1.0

_log = EventLog(Logger("trabbits"))


class SessionFactory(Protocol):
    """What the service tree needs of ``trabbits.frontend.listener.ClientFactory``."""

    sessions: Mapping[str, Any]

    def close_sessions(self, code: int, text: str, pace: Pace, which: Callable[[Any], bool] = ...) -> int:
        """Let sessions leave at this pace; how many."""

    def abort_all(self) -> int:
        """Drop every session; how many there were."""

    def when_empty(self) -> Deferred[None]:
        """Fires when there is no session."""


class SessionsService(Service):
    """Lets all sessions go when the process stops; they begin by themselves, as clients connect."""

    name = "sessions"

    def __init__(self, factory: SessionFactory, config: Callable[[], Config], reactor: Any) -> None:
        self._factory = factory
        self._config = config
        self._reactor = reactor
        self._impatience: Deferred[None] = Deferred()

    def stopService(self) -> Deferred[None]:
        """Fires when every client has left, when the time is over, or after `abort`."""
        super().stopService()
        return Deferred.fromCoroutine(self._close_sessions())

    def abort(self) -> None:
        """Wait no longer."""
        if not self._impatience.called:
            self._impatience.callback(None)

    async def _close_sessions(self) -> None:
        config = self._config()
        graceful = config.graceful_shutdown
        timeout = graceful.shutdown_timeout
        last_call = min(LAST_CALL, config.connection_close_timeout, timeout / 2)
        _log(LogId.STOPPING, sessions=len(self._factory.sessions), timeout=timeout)
        pace = Pace(graceful.burst_size, graceful.rate_limit, timeout - last_call)
        try:
            if not self._impatience.called:
                self._factory.close_sessions(*FAREWELL, pace)
            await self._empty_within(timeout)
        except Exception as error:
            _log(LogId.INTERNAL_ERROR, text="sessions not closed", error=error)
        dropped = self._factory.abort_all()
        if dropped:
            _log(LogId.SESSIONS_DROPPED, sessions=dropped)
        if dropped and not self._impatience.called:
            await self._empty_within(GRACE)

    async def _empty_within(self, seconds: float) -> None:
        empty = self._factory.when_empty()
        if empty.called or self._impatience.called:
            return
        late: Deferred[None] = deferLater(self._reactor, seconds)
        late.addErrback(lambda failure: None)  # cancelled
        await DeferredList([empty, late, self._impatience], fireOnOneCallback=True)
        late.cancel()
