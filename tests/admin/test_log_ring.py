"""The log as the API has it: the last lines, live ones, and no harm to whoever logs."""

from __future__ import annotations

import json

from twisted.logger import Logger

from trabbits.admin.log_ring import KEPT, LogRing
from trabbits.log_ids import LogId
from trabbits.logs import EventLog


def log_to(ring: LogRing) -> EventLog:
    return EventLog(Logger("test", observer=ring))


def test_the_last_ones_are_kept() -> None:
    ring = LogRing()
    log = log_to(ring)
    for number in range(KEPT + 5):
        log(LogId.CONFIG_WARNING, path="x", text=str(number))
    lines = ring.lines()
    assert len(lines) == KEPT
    assert [json.loads(line)["text"] for _, line in lines] == [str(number) for number in range(5, KEPT + 5)]
    assert {level for level, _ in lines} == {"warn"}


def test_details_only_with_debug() -> None:
    for debug, expected in ((False, 0), (True, 2)):
        ring = LogRing(debug=debug)
        log_to(ring)(LogId.CLIENT_CONNECTED, address="x")
        Logger("twisted.something", observer=ring).info("Starting factory")
        assert len(ring.lines()) == expected


def test_watchers_hear_until_they_stop_and_cannot_do_harm() -> None:
    ring = LogRing()
    log = log_to(ring)
    heard: list[str] = []
    stop = ring.watch(lambda line: heard.append(json.loads(line[1])["event"]))
    ring.watch(lambda line: 1 / 0)  # type: ignore[arg-type]
    log(LogId.STOPPED)
    stop()
    log(LogId.STOPPED)
    assert heard == ["stopped"]
    assert len(ring.lines()) == 2
