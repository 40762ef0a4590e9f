"""Every metric: which number of the process it shows.

Covered: names, values, labels and their bounds, that reading goes in pieces.  Not covered: HTTP
(test_metrics_server.py), sessions that really count (test_metrics_running.py).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from prometheus_client import generate_latest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel

from tests.admin.metrics_doubles import LinkDouble, ProcessDouble, Scraped, SumsDouble, TotalsDouble
from trabbits import __version__
from trabbits.admin.log_counts import LogCounts
from trabbits.admin.metrics import Metrics, registry_of
from trabbits.admin.metrics_reading import SLICE, Reading, read
from trabbits.admin.reactor_lag import INTERVAL, ReactorLag
from trabbits.durations import Durations
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.wire import constants as amqp


def scraped(process: ProcessDouble, log: LogCounts | None = None, lag: Durations | None = None) -> Scraped:
    """What a scrape of this process gives."""
    reading: list[Reading] = []
    coroutine = read(process, log or LogCounts(), lag or Durations((0.1,)), lambda: succeed(None))
    Deferred.fromCoroutine(coroutine).addCallback(reading.append)
    metrics = Metrics()
    metrics.reading = reading[0]
    return Scraped(generate_latest(registry_of(metrics)).decode())


def test_clients() -> None:
    totals = TotalsDouble(7, 2, SumsDouble(30, 40, 500, 600))
    process = ProcessDouble(totals=totals)
    process.connect(channel_count=3, consumer_count=1)
    process.connect(channel_count=2, consumer_count=5)
    page = scraped(process)
    assert page["trabbits_client_connections"] == 2
    assert page["trabbits_client_connections_total"] == 7
    assert page["trabbits_client_connection_errors_total"] == 2
    assert page["trabbits_client_received_frames_total"] == 30
    assert page["trabbits_client_sent_frames_total"] == 40
    assert page["trabbits_client_received_bytes_total"] == 500
    assert page["trabbits_client_sent_bytes_total"] == 600
    assert page["trabbits_client_channels"] == 5
    assert page["trabbits_client_consumers"] == 6


def test_a_gauge_and_a_counter_with_almost_the_same_name() -> None:
    """`x` and `x_total` are two metrics, each with its own type."""
    types = scraped(ProcessDouble()).types
    assert types["trabbits_client_connections"] == "gauge"
    assert types["trabbits_client_connections_total"] == "counter"
    assert types["trabbits_upstream_connections"] == "gauge"
    assert types["trabbits_upstream_connections_total"] == "counter"


def test_methods_have_their_names() -> None:
    """Those that nobody knows share one label, so that no client can make up labels."""
    methods = Counter({amqp.BASIC_PUBLISH: 10, amqp.QUEUE_DECLARE_OK: 2, 0x00990001: 3, 0x00990002: 4})
    totals = TotalsDouble(gone=SumsDouble(methods=methods, errored_methods=Counter({amqp.QUEUE_DECLARE: 5, 0: 1})))
    page = scraped(ProcessDouble(totals=totals))
    assert page["trabbits_processed_messages_total", {"method": "Basic.Publish"}] == 10
    assert page["trabbits_processed_messages_total", {"method": "Queue.DeclareOk"}] == 2
    assert page["trabbits_processed_messages_total", {"method": "unknown"}] == 7
    assert page["trabbits_errored_messages_total", {"method": "Queue.Declare"}] == 5
    assert page["trabbits_errored_messages_total", {"method": "unknown"}] == 1


def test_in_flight_by_upstream() -> None:
    """Links that are gone hold nothing any more."""
    gone = SumsDouble(
        publishes=Counter(a=5), deliveries=Counter(a=6, b=7), copies_sent=Counter(b=4), copies_dropped=Counter(a=1)
    )
    process = ProcessDouble(totals=TotalsDouble(gone=gone))
    process.connect(LinkDouble("a", unacknowledged=1, unconfirmed=2), LinkDouble("b", unacknowledged=10))
    process.connect(
        LinkDouble("a", unacknowledged=3, blocked="low on memory"), LinkDouble("b", open=False, unconfirmed=99)
    )
    page = scraped(process)
    a, b = {"upstream": "a"}, {"upstream": "b"}
    assert page["trabbits_upstream_unacknowledged_messages", a] == 4
    assert page["trabbits_upstream_unacknowledged_messages", b] == 10
    assert page["trabbits_upstream_unconfirmed_messages", a] == 2
    assert page["trabbits_upstream_unconfirmed_messages", b] == 0
    assert page["trabbits_upstream_blocked_links", a] == 1
    assert page["trabbits_upstream_blocked_links", b] == 0
    assert page["trabbits_upstream_publishes_total", a] == 5
    assert page["trabbits_upstream_publishes_total", b] == 0
    assert page["trabbits_upstream_deliveries_total", b] == 7
    copies = [page["trabbits_mirrored_messages_total", {**each, "outcome": "sent"}] for each in (a, b)]
    dropped = [page["trabbits_mirrored_messages_total", {**each, "outcome": "dropped"}] for each in (a, b)]
    assert (copies, dropped) == ([0, 4], [1, 0])


def test_upstreams_of_earlier_configurations() -> None:
    """They are named as long as a session has a link there, and not for ever."""
    process = ProcessDouble(
        upstream_names=["new"], totals=TotalsDouble(gone=SumsDouble(publishes=Counter(old=3, older=4)))
    )
    process.connect(LinkDouble("old", unacknowledged=2))
    page = scraped(process)
    assert page["trabbits_upstream_unacknowledged_messages", {"upstream": "old"}] == 2
    assert page.labels("trabbits_upstream_publishes_total") == [{"upstream": "new"}, {"upstream": "old"}]


def test_nodes() -> None:
    process = ProcessDouble()
    first = process.node(
        "a", "rabbit-1", links=2, connection_attempts=9, connection_errors=1, checks=4, failed_checks=3
    )
    first.isolations = 1
    first.connect_times.add(0.02)
    first.connect_times.add(3)
    process.node("a", "rabbit-2", healthy=False)
    process.node("b", "[::1]:5673", suspect_until=1e9)
    page = scraped(process)
    addr = {"addr": "rabbit-1:5672"}
    assert page["trabbits_upstream_connections", addr] == 2
    assert page["trabbits_upstream_connections_total", addr] == 2
    assert page["trabbits_upstream_connection_attempts_total", addr] == 9
    assert page["trabbits_upstream_connection_errors_total", addr] == 1
    assert page["trabbits_upstream_health_checks_total", addr] == 4
    assert page["trabbits_upstream_health_check_failures_total", addr] == 3
    assert page["trabbits_upstream_isolations_total", addr] == 1
    assert page["trabbits_upstream_connections", {"addr": "[::1]:5673"}] == 0
    a, b = {"upstream": "a"}, {"upstream": "b"}
    assert page["trabbits_upstream_healthy_nodes", a] == 1
    assert page["trabbits_upstream_unhealthy_nodes", a] == 1
    assert page["trabbits_upstream_suspect_nodes", a] == 0
    assert page["trabbits_upstream_healthy_nodes", b] == 1
    assert page["trabbits_upstream_suspect_nodes", b] == 1
    assert page["trabbits_upstream_connect_seconds_count", a] == 2
    assert page["trabbits_upstream_connect_seconds_sum", a] == pytest.approx(3.02)
    assert page["trabbits_upstream_connect_seconds_bucket", {**a, "le": "0.01"}] == 0
    assert page["trabbits_upstream_connect_seconds_bucket", {**a, "le": "0.025"}] == 1
    assert page["trabbits_upstream_connect_seconds_bucket", {**a, "le": "5.0"}] == 2
    assert page["trabbits_upstream_connect_seconds_bucket", {**a, "le": "+Inf"}] == 2
    assert page["trabbits_upstream_connect_seconds_count", b] == 0


def test_a_node_that_two_upstreams_share() -> None:
    """One address is one label."""
    process = ProcessDouble()
    process.node("a", "rabbit", links=2, connection_attempts=3)
    process.node("b", "rabbit:5672", links=4, connection_attempts=5)
    page = scraped(process)
    assert page["trabbits_upstream_connections", {"addr": "rabbit:5672"}] == 6
    assert page["trabbits_upstream_connection_attempts_total", {"addr": "rabbit:5672"}] == 8


def test_the_process_itself() -> None:
    page = scraped(ProcessDouble(stopping=True))
    assert page["trabbits_build_info", {"version": __version__}] == 1
    assert page["trabbits_config_info", {"hash": "0123456789abcdef"}] == 1
    assert page["trabbits_stopping"] == 1
    assert page["process_resident_memory_bytes"] > 1e6
    assert page["process_open_fds"] > 2
    assert 0 < page["process_start_time_seconds"] < 1e11


def test_log_lines_are_counted_by_level_and_kind() -> None:
    """Libraries' chatter is debug, as it is when lines are written."""
    counts = LogCounts()
    log = Logger("test", observer=counts)
    event_log = EventLog(log)
    event_log(LogId.CONFIG_RELOADED)
    event_log(LogId.CONFIG_REFUSED)
    event_log(LogId.CONFIG_REFUSED)
    event_log(LogId.CLIENT_CONNECTED)
    event_log(LogId.INTERNAL_ERROR)
    log.emit(LogLevel.info, "Starting factory")
    log.emit(LogLevel.warn, "deprecated")
    counts({"log_level": None})
    counts({})
    page = scraped(ProcessDouble(), counts)
    levels = {
        labels["level"]: page["trabbits_logger_stats_total", labels]
        for labels in page.labels("trabbits_logger_stats_total")
    }
    assert levels == {"debug": 3, "info": 2, "warn": 1, "error": 2, "critical": 1}
    assert page["trabbits_logged_events_total", {"event": "config_refused"}] == 2
    assert page["trabbits_logged_events_total", {"event": "library"}] == 4
    assert page["trabbits_config_reloads_total", {"result": "changed"}] == 1
    assert page["trabbits_config_reloads_total", {"result": "unchanged"}] == 0
    assert page["trabbits_config_reloads_total", {"result": "refused"}] == 2


def test_reactor_lag() -> None:
    """A timer that is late by so much counts as that, and the next one is due from there."""
    clock = Clock()
    lag = ReactorLag(clock)
    lag.start()
    clock.advance(INTERVAL)
    clock.advance(INTERVAL + 0.03)
    page = scraped(ProcessDouble(), lag=lag.late)
    assert page["trabbits_reactor_lag_seconds_count"] == 2
    assert page["trabbits_reactor_lag_seconds_sum"] == pytest.approx(0.03)
    assert page["trabbits_reactor_lag_seconds_bucket", {"le": "0.001"}] == 1
    assert page["trabbits_reactor_lag_seconds_bucket", {"le": "0.05"}] == 2
    lag.stop()
    lag.stop()
    assert clock.getDelayedCalls() == []


def test_durations_take_a_clock_that_was_set_back() -> None:
    durations = Durations((1.0, 2.0))
    for seconds in (-5.0, 1.0, 1.5, 99.0):
        durations.add(seconds)
    assert durations.counts == [2, 1, 1]
    assert durations.total == 101.5
    assert durations.number == 4
    assert repr(durations) == "<Durations: 4, 101.5 s>"


def test_reading_gives_the_reactor_its_turns() -> None:
    """Sessions are read some at a time.  One that goes meanwhile holds nothing any more, but what it counted counts;
    one that comes meanwhile waits for the next reading."""
    process = ProcessDouble(totals=TotalsDouble(gone=SumsDouble(publishes=Counter(a=1000))))
    for _ in range(3 * SLICE):
        process.connect(LinkDouble("a", unacknowledged=1), publishes={"a": 1})
    turns: list[Deferred[None]] = []

    def turn() -> Deferred[None]:
        turns.append(Deferred())
        return turns[-1]

    readings: list[Any] = []
    Deferred.fromCoroutine(read(process, LogCounts(), Durations(()), turn)).addCallback(readings.append)
    assert len(turns) == 1
    process.totals.gone.include(process.sessions.pop(f"proxy-{SLICE + 3}"))
    process.sessions["proxy-late"] = process.sessions["proxy-0"]
    turns[0].callback(None)
    turns[1].callback(None)
    assert readings == []
    turns[2].callback(None)
    assert readings[0].upstreams["a"].unacknowledged == 3 * SLICE - 1
    assert readings[0].upstreams["a"].publishes == 1000 + 3 * SLICE
    assert readings[0].clients == 3 * SLICE
