"""Log lines of plugins: they look like those of trabbits, and are counted as such, within a bound."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from twisted.logger import Logger, globalLogPublisher

from trabbits.admin.log_counts import PLUGIN_LINES_MAX, LogCounts
from trabbits.log_ids import LogId
from trabbits.logs import EventLog, LineObserver
from trabbits.plugins.logging import PluginLine, PluginLog

MOVED = PluginLine("ACME-1", "info", "tenant_moved", "tenant {tenant} is at {upstream} now")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "json",
            {
                "level": "info",
                "id": "ACME-1",
                "event": "tenant_moved",
                "tenant": "acme",
                "upstream": "new",
                "password": "********",
                "message": "tenant acme is at new now",
            },
        ),
        ("text", "INFO     ACME-1 tenant acme is at new now\n"),
    ],
)
def test_a_line(form: str, expected: Any) -> None:
    """Also without ``--debug``, which those of libraries would need at this level."""
    stream = io.StringIO()
    observer = LineObserver(stream, form)
    globalLogPublisher.addObserver(observer)
    try:
        PluginLog("tenant")(MOVED, tenant="acme", upstream="new", password="hunter2")
    finally:
        globalLogPublisher.removeObserver(observer)
    line = stream.getvalue()
    if form == "json":
        entry = json.loads(line)
        assert entry.pop("time")
        assert entry == expected
    else:
        assert line.endswith(expected)


@pytest.mark.parametrize(
    "changes", [{"id": "acme"}, {"id": "A"}, {"level": "fatal"}, {"event": "Tenant moved"}, {"event": ""}]
)
def test_an_entry_that_would_not_do(changes: Any) -> None:
    given: Any = {"id": "ACME-1", "level": "warn", "event": "moved", "format": "x"}
    PluginLine(**given)
    with pytest.raises(ValueError):
        PluginLine(**given | changes)


def test_kinds_are_counted_within_a_bound() -> None:
    """Further ones count as lines of libraries."""
    counts = LogCounts()
    log = EventLog(Logger("test", observer=counts))
    for number in range(PLUGIN_LINES_MAX + 5):
        for _ in range(2):
            log(PluginLine(f"ACME-{number}", "warn", f"event_{number}", "x"))
    assert len(counts.entries) == len(LogId) + PLUGIN_LINES_MAX
    assert set(list(counts.entries.values())[len(LogId) :]) == {2}
    assert counts.entries[LogId.LIBRARY] == 10
    assert counts.levels["warn"] == 2 * (PLUGIN_LINES_MAX + 5)
