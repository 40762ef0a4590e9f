"""The server's log for those who look at it through the API: the last lines, and the ones to come.

Lives here: `LogRing`, an observer of Twisted's.  Must not know: how lines look (``trabbits.logs``), or who reads them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver
from zope.interface import implementer

from trabbits.logs import is_detail, json_line

#: Lines that are kept.
KEPT = 200
#: From the least to the greatest.
LEVELS = ("debug", "info", "warn", "error", "critical")

#: A line's level and its JSON.
Line = tuple[str, str]


@implementer(ILogObserver)
class LogRing:
    """Keeps what the process logs; without `debug`, only what it writes without ``--debug``."""

    def __init__(self, *, debug: bool = False) -> None:
        self._debug = debug
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._watchers: list[Callable[[Line], None]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        try:
            if not self._debug and is_detail(event):
                return
            line = getattr(event.get("log_level"), "name", "info"), json_line(event)
            self._lines.append(line)
            for watcher in list(self._watchers):
                watcher(line)
        except Exception:
            # Whoever logs must not suffer from who looks on.
            return

    def lines(self) -> list[Line]:
        """The last ones, oldest first."""
        return list(self._lines)

    def watch(self, watcher: Callable[[Line], None]) -> Callable[[], None]:
        """Tell `watcher` of every line from now on; returns how to end it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)
