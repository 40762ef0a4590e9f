"""A scrape with 2 000 sessions: clients are not made to wait for it.

Covered: the real counting of sessions, without their transports.  Not covered: HTTP.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client import generate_latest
from twisted.internet.defer import Deferred, succeed

from tests.admin.metrics_doubles import LinkDouble, ProcessDouble, Scraped, SessionDouble
from trabbits.admin.log_counts import LogCounts
from trabbits.admin.metrics import Metrics, registry_of
from trabbits.admin.metrics_reading import Reading, read
from trabbits.durations import Durations
from trabbits.frontend.totals import Totals
from trabbits.session.observation import Observation
from trabbits.wire.constants import BASIC_ACK, BASIC_DELIVER, BASIC_PUBLISH
from trabbits.wire.methods import METHODS

SESSIONS = 2000
#: Seconds for which clients may wait.
LIMIT = 0.05


class Live(SessionDouble):
    """A session that has seen two dozen methods, and its runner."""

    received_frames = 100
    sent_frames = 200
    received_octets = 3000
    sent_octets = 4000
    ended_badly = True
    shutdown_reason = ""

    def __init__(self) -> None:
        super().__init__([LinkDouble("a", unacknowledged=2), LinkDouble("b", unconfirmed=3)], 1, 1)
        self.observation = Observation(lambda: 0.0)
        for index in list(METHODS)[:24]:
            self.observation.taken_from_client(index, bytes(12))
        for tap in (self.observation.client_tap("a"), self.observation.link_tap("a"), self.observation.link_tap("b")):
            tap(bytes(12), [], [0, 0, 0], [BASIC_PUBLISH, BASIC_DELIVER, BASIC_ACK], [])

    def copies(self) -> dict[str, tuple[int, int]]:
        return {"b": (5, 1)}


@pytest.fixture(scope="module")
def process() -> ProcessDouble:
    sessions: dict[str, Any] = {f"proxy-{number}": Live() for number in range(SESSIONS)}
    totals: Any = Totals(sessions.values)
    return ProcessDouble(sessions=sessions, totals=totals)


def test_no_piece_of_a_scrape_takes_long(process: ProcessDouble) -> None:
    """Measured in processor time, which other processes do not touch."""
    pieces: list[float] = []
    begun = time.thread_time()

    def turn() -> Deferred[None]:
        nonlocal begun
        pieces.append(time.thread_time() - begun)
        begun = time.thread_time()
        return succeed(None)

    readings: list[Reading] = []
    Deferred.fromCoroutine(read(process, LogCounts(), Durations(()), turn)).addCallback(readings.append)
    metrics = Metrics()
    metrics.reading = readings[0]
    text = generate_latest(registry_of(metrics)).decode()
    turn()
    assert len(pieces) > 20
    assert max(pieces) < LIMIT
    page = Scraped(text)
    assert page["trabbits_client_received_frames_total"] == 100 * SESSIONS
    assert page["trabbits_client_sent_bytes_total"] == 4000 * SESSIONS
    assert page["trabbits_upstream_unacknowledged_messages", {"upstream": "a"}] == 2 * SESSIONS
    assert page["trabbits_upstream_unconfirmed_messages", {"upstream": "b"}] == 3 * SESSIONS
    assert page["trabbits_upstream_deliveries_total", {"upstream": "b"}] == SESSIONS


def test_departed_sessions_are_counted_for_ever(process: ProcessDouble) -> None:
    """Nothing is lost or counted twice when sessions go."""
    totals: Any = process.totals
    before = totals.publishes, totals.deliveries
    for name in list(process.sessions)[:100]:
        totals.departed(process.sessions.pop(name))
    assert (totals.publishes, totals.deliveries) == before
    assert totals.connection_errors == 100
    assert totals.gone.received_octets == 100 * 3000
    copy = totals.gone.copy()
    copy.include(next(iter(process.sessions.values())))
    assert copy.methods[BASIC_ACK] > totals.gone.methods[BASIC_ACK]
    assert totals.gone.received_octets == 100 * 3000
