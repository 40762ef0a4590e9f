"""The metrics: their names, their meaning, and which number of a reading each of them is.

Lives here: `Metrics`, a collector of prometheus-client's, and the registry around it.  Must not know: where numbers
come from (``metrics_reading.py``), HTTP.  docs/metrics.md describes what stands here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from trabbits import __version__
from trabbits.admin.metrics_reading import Reading
from trabbits.durations import Durations
from trabbits.log_ids import Entry, LogId

#: What a try to change the configuration may come to, and the line that says so.
RELOADS = {
    "changed": LogId.CONFIG_RELOADED,
    "unchanged": LogId.CONFIG_UNCHANGED,
    "refused": LogId.CONFIG_REFUSED,
}


class Metrics(Collector):
    """Gives out what stands in `reading`."""

    def __init__(self) -> None:
        self.reading = Reading()

    def collect(self) -> Iterator[Metric]:
        """Every metric of trabbits' own."""
        yield from self._process()
        yield from self._clients()
        yield from self._methods()
        yield from self._nodes()
        yield from self._upstreams()

    def _process(self) -> Iterator[Metric]:
        reading = self.reading
        yield InfoMetricFamily("trabbits_build", "The version that runs.", {"version": __version__})
        yield InfoMetricFamily(
            "trabbits_config",
            "The configuration that new clients get; the hash means something within this process only.",
            {"hash": reading.config_hash},
        )
        yield _counters(
            "trabbits_config_reloads",
            "Configurations that were read again or given, by what became of them.",
            "result",
            {result: reading.log_entries.get(entry, 0) for result, entry in RELOADS.items()},
        )
        yield _gauge("trabbits_stopping", "1 while the process lets its clients go.", int(reading.stopping))
        yield _histogram("trabbits_reactor_lag_seconds", "How late a timer fires that is due.", reading.reactor_lag)
        yield _counters("trabbits_logger_stats", "Log lines by level.", "level", reading.log_levels)
        yield _counters(
            "trabbits_logged_events",
            "Log lines by kind; each kind is documented with its id.",
            "event",
            _by_event(reading.log_entries),
        )

    def _clients(self) -> Iterator[Metric]:
        reading = self.reading
        yield _gauge("trabbits_client_connections", "Clients that are connected.", reading.clients)
        yield _counter("trabbits_client_connections", "Clients that connected.", reading.connections)
        yield _counter(
            "trabbits_client_connection_errors",
            "Client connections that ended otherwise than by a proper close.",
            reading.connection_errors,
        )
        yield _counter("trabbits_client_received_frames", "Frames from clients.", reading.received_frames)
        yield _counter("trabbits_client_sent_frames", "Frames to clients.", reading.sent_frames)
        yield _counter("trabbits_client_received_bytes", "Octets from clients.", reading.received_octets)
        yield _counter("trabbits_client_sent_bytes", "Octets to clients.", reading.sent_octets)
        yield _gauge("trabbits_client_channels", "Channels that clients have open.", reading.channels)
        yield _gauge("trabbits_client_consumers", "Consumers of clients.", reading.consumers)

    def _methods(self) -> Iterator[Metric]:
        reading = self.reading
        yield _counters(
            "trabbits_processed_messages", "Methods exchanged with clients, both ways.", "method", reading.methods
        )
        yield _counters(
            "trabbits_errored_messages",
            "Methods of clients that were answered by closing the channel or the connection.",
            "method",
            reading.errored_methods,
        )

    def _nodes(self) -> Iterator[Metric]:
        nodes = self.reading.nodes
        yield _gauges(
            "trabbits_upstream_connections",
            "Links to the node, those being opened included.",
            "addr",
            {addr: node.links for addr, node in nodes.items()},
        )
        yield _counters(
            "trabbits_upstream_connections",
            "Links on which the node accepted user and password.",
            "addr",
            {addr: node.connected for addr, node in nodes.items()},
        )
        yield _counters(
            "trabbits_upstream_connection_attempts",
            "Attempts to open a link to the node.",
            "addr",
            {addr: node.attempts for addr, node in nodes.items()},
        )
        yield _counters(
            "trabbits_upstream_connection_errors",
            "Attempts that met a node that does not work.",
            "addr",
            {addr: node.errors for addr, node in nodes.items()},
        )
        yield _counters(
            "trabbits_upstream_health_checks",
            "Health checks of the node.",
            "addr",
            {addr: node.checks for addr, node in nodes.items()},
        )
        yield _counters(
            "trabbits_upstream_health_check_failures",
            "Health checks that failed.",
            "addr",
            {addr: node.failed_checks for addr, node in nodes.items()},
        )
        yield _counters(
            "trabbits_upstream_isolations",
            "How often health checks isolated the node.",
            "addr",
            {addr: node.isolations for addr, node in nodes.items()},
        )

    def _upstreams(self) -> Iterator[Metric]:
        upstreams = self.reading.upstreams
        for name, text, attribute in (
            ("healthy_nodes", "Nodes that are not isolated.", "healthy"),
            ("unhealthy_nodes", "Nodes that health checks isolated.", "isolated"),
            ("suspect_nodes", "Nodes that failed a client lately.", "suspect"),
            ("blocked_links", "Links whose node takes no publishes now (connection.blocked).", "blocked"),
            ("unacknowledged_messages", "Deliveries that clients have not settled.", "unacknowledged"),
            ("unconfirmed_messages", "Publishes that the upstream has not confirmed.", "unconfirmed"),
        ):
            values = {upstream: getattr(numbers, attribute) for upstream, numbers in upstreams.items()}
            yield _gauges(f"trabbits_upstream_{name}", text, "upstream", values)
        for name, text, attribute in (
            ("publishes", "Messages that were routed to the upstream.", "publishes"),
            ("deliveries", "Messages that came from the upstream.", "deliveries"),
        ):
            values = {upstream: getattr(numbers, attribute) for upstream, numbers in upstreams.items()}
            yield _counters(f"trabbits_upstream_{name}", text, "upstream", values)
        mirrored = CounterMetricFamily(
            "trabbits_mirrored_messages",
            "Copies of messages for the upstream, by whether they were sent to it.",
            labels=["upstream", "outcome"],
        )
        for upstream, numbers in upstreams.items():
            mirrored.add_metric([upstream, "sent"], numbers.copies_sent)
            mirrored.add_metric([upstream, "dropped"], numbers.copies_dropped)
        yield mirrored
        connecting = HistogramMetricFamily(
            "trabbits_upstream_connect_seconds",
            "From the beginning of an attempt until a node accepted user and password.",
            labels=["upstream"],
        )
        for upstream, numbers in upstreams.items():
            connecting.add_metric([upstream], *_cumulated(numbers.connect_times))
        yield connecting


class _Process(ProcessCollector):
    """As prometheus-client's, also where /proc has processes only (systemd's ``ProcSubset=pid``)."""

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """What a scrape gives out: `metrics`, and those of the process and of Python."""
    registry = CollectorRegistry()
    registry.register(metrics)
    _Process(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _by_event(entries: Mapping[Entry, int]) -> dict[str, int]:
    """Counts by name; plugins may have chosen the same one."""
    counts: dict[str, int] = {}
    for entry, count in entries.items():
        counts[entry.event] = counts.get(entry.event, 0) + count
    return counts


def _histogram(name: str, text: str, durations: Durations) -> Metric:
    buckets, total = _cumulated(durations)
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)


def _cumulated(durations: Durations) -> tuple[list[tuple[str, float]], float]:
    """As Prometheus wants it: each bucket holds what the smaller ones do."""
    bounds: Iterable[str] = [*map(str, durations.bounds), "+Inf"]
    buckets, number = [], 0
    for bound, count in zip(bounds, durations.counts, strict=True):
        number += count
        buckets.append((bound, float(number)))
    return buckets, durations.total
