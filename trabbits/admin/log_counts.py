"""How many lines were logged, by level and by kind.

Lives here: `LogCounts`, an observer beside the one that writes.  Must not know: how lines look, who reads the numbers.
"""

from __future__ import annotations

from typing import Any, get_args

from twisted.logger import ILogObserver, LogLevel
from zope.interface import implementer

from trabbits.log_ids import Entry, Level, LogId, PluginLine

LEVELS: tuple[str, ...] = get_args(Level)
#: Kinds of lines that plugins have: further ones count as those of libraries.
PLUGIN_LINES_MAX = 100


@implementer(ILogObserver)
class LogCounts:
    """Counts what is logged; what libraries have to say below *warn* is *debug*, as it is when lines are written."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = dict.fromkeys(LEVELS, 0)
        self.entries: dict[Entry, int] = dict.fromkeys(LogId, 0)

    def __call__(self, event: dict[str, Any]) -> None:
        entry = event.get("log_entry")
        level = event.get("log_level", LogLevel.info)
        if isinstance(entry, PluginLine):
            if entry not in self.entries and len(self.entries) >= len(LogId) + PLUGIN_LINES_MAX:
                entry = LogId.LIBRARY
        elif not isinstance(entry, LogId):
            entry = LogId.LIBRARY
            if level is LogLevel.info:
                level = LogLevel.debug
        self.entries[entry] = self.entries.get(entry, 0) + 1
        name = getattr(level, "name", "info")
        if name in self.levels:
            self.levels[name] += 1
