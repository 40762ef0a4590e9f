"""Signals: SIGTERM and SIGINT stop the process, a second one ends the wait for clients, SIGHUP reloads.

Lives here: `SignalsService`.  Must not know: how stopping or reloading is done.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning

Handler = Callable[[int, FrameType | None], None]


class Proxy(Protocol):
    """What signals are about."""

    running: Any

    def reload(self) -> Deferred[Any]:
        """Read the configuration again; what goes wrong is logged."""

    def abort(self) -> None:
        """While stopping: wait no longer."""


class SignalsService(Service):
    """Takes over signals until it is stopped, last of all services; SIGHUP for good.

    SIGHUP as early as possible: its default is to end the process, and it may come before the reactor runs.  The
    others once it runs, because Twisted sets its own then, which leave no way to hear of a second signal.
    """

    name = "signals"

    def __init__(self, proxy: Proxy, reactor: Any, install: Callable[[int, Any], Any] = signal.signal) -> None:
        self._proxy = proxy
        self._set = install
        self._reactor = reactor
        self._told_to_stop = False
        self._before: dict[int, Any] = {}

    def privilegedStartService(self) -> None:
        self._install(signal.SIGHUP, self._reload)

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._take_over)

    def stopService(self) -> None:
        super().stopService()
        before, self._before = self._before, {}
        for number, handler in before.items():
            self._set(number, handler)

    def _take_over(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = self._install(number, self._stop_or_abort)

    def _install(self, number: int, action: Callable[[], None]) -> Any:
        def on_signal(number: int, frame: FrameType | None) -> None:
            # Signals interrupt anything; the reactor's own thread is the place to act.
            self._reactor.callFromThread(action)

        return self._set(number, on_signal)

    def _reload(self) -> None:
        if self._proxy.running:
            self._proxy.reload().addErrback(lambda failure: None)  # it is logged

    def _stop_or_abort(self) -> None:
        if self._told_to_stop or not self._proxy.running:
            self._proxy.abort()
            return
        self._told_to_stop = True
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # it is stopping already
