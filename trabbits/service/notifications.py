"""What systemd is told in the course of the process' life.

Lives here: `NotificationsService`: when and what.  Must not know: how it gets there (``trabbits.systemd``).
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.systemd import Notifier

#: Seconds between two looks whether the status has changed.
STATUS_INTERVAL = 1.0
#: Seconds that stopping may take beyond the time that clients have.
STOP_MARGIN = 10.0

_log = EventLog(Logger("trabbits"))


class NotificationsService(Service):
    """Runs longer than everything else, so that the watchdog is content while clients are leaving."""

    name = "notifications"

    def __init__(self, notifier: Notifier, status: Callable[[], str], reactor: Any) -> None:
        self._notifier = notifier
        self._status = status
        self._told = ""
        self._complained = False
        self._loops: list[tuple[LoopingCall, float]] = []
        if notifier:
            self._loops.append((LoopingCall(self._tell_status), STATUS_INTERVAL))
        if notifier and notifier.watchdog is not None:
            self._loops.append((LoopingCall(self._tell, WATCHDOG=1), notifier.watchdog / 2))
        for loop, _ in self._loops:
            loop.clock = reactor

    def ready(self) -> None:
        """Clients may come."""
        self._tell(READY=1)
        for loop, interval in self._loops:
            loop.start(interval)

    def stopService(self) -> None:
        super().stopService()
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()

    def reloading(self) -> None:
        """A reload begins; systemd wants to know when, by its own clock."""
        self._tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def reloaded(self) -> None:
        """It is over, whatever came of it."""
        self._tell(READY=1)

    def stopping(self, timeout: float) -> None:
        """No new clients; those that are there have `timeout` seconds."""
        self._tell(STOPPING=1, EXTEND_TIMEOUT_USEC=int((timeout + STOP_MARGIN) * 1_000_000))

    def _tell_status(self) -> None:
        status = self._status()
        if status != self._told:
            self._told = status
            self._tell(STATUS=status)

    def _tell(self, **state: object) -> None:
        try:
            self._notifier.notify(**state)
        except OSError as error:
            # Once: it fails for every one that follows, too.
            if not self._complained:
                self._complained = True
                _log(LogId.SYSTEMD_FAILED, state=next(iter(state)), text=error.strerror or str(error))
