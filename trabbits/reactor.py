"""Twisted's epoll reactor without what it does for every single event that a proxy does not need.

Twisted wraps each event in a logging context and asks the descriptor for its number once more, and each turn of its
loop in an error handler: a third of what a small message costs on its way through trabbits.  Everything else, errors
included, is left as it is.

`install` before anything imports ``twisted.internet.reactor``; ``twistd --reactor=trabbits`` does the same.
Must not know: trabbits.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger
from twisted.python import log

_EPOLLIN = 1
_log = Logger()


class ProxyReactor(EPollReactor):
    """An epoll reactor for many small events."""

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events and act on them, as `EPollReactor.doPoll` does."""
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        selectables = self._selectables
        for number, event in events:
            selectable = selectables.get(number)
            if selectable is None:
                continue
            if event == _EPOLLIN:
                # By far the most frequent: octets to read, and nothing else.
                why: Any = None
                try:
                    why = selectable.doRead()
                except BaseException as error:  # of whatever reads there, ``sys.exit()`` included
                    log.err()
                    why = error
                if why:
                    self._disconnectSelectable(selectable, why, True)  # type: ignore[no-untyped-call]  # Twisted's
            else:
                log.callWithLogger(selectable, self._doReadOrWrite, selectable, number, event)

    doIteration = doPoll

    def mainLoop(self) -> None:
        """Turn after turn until stopped; an error that nobody took is logged and does not end it."""
        while self._started:
            try:
                while self._started:
                    self.runUntilCurrent()
                    timeout = self.timeout()
                    self.doIteration(timeout if self.running else 0)
            except BaseException:
                _log.failure("unexpected error in the main loop")


def install() -> None:
    """Make it the reactor of this process."""
    installReactor(ProxyReactor())  # type: ignore[no-untyped-call]  # Twisted's
