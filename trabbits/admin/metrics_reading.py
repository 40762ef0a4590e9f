"""What metrics need of the process, and how it is read: in small pieces, so that no client waits for a scrape.

Lives here: `ObservedProcess` and what hangs from it, `Reading`, `read`.  Must not know: names of metrics, HTTP.

Nobody counts anything for a scrape: the numbers are there as plain integers, and are added up here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from trabbits.admin.log_counts import LogCounts
from trabbits.durations import Durations
from trabbits.log_ids import Entry
from trabbits.upstream.status import CONNECT_BOUNDS, NodeStatus
from trabbits.wire.methods import METHODS

#: Sessions that are read before the reactor has its turn.
SLICE = 50
#: The label of methods that AMQP 0-9-1 and RabbitMQ do not have: one for all, since clients can make up many.
UNKNOWN_METHOD = "unknown"


class ObservedLink(Protocol):
    """A session's link."""

    @property
    def name(self) -> str:
        """The upstream's."""

    @property
    def open(self) -> bool:
        """Whether it still is."""

    @property
    def blocked(self) -> str:
        """Why its node takes no publishes, empty while it does."""


class ObservedSession(Protocol):
    """A client's session."""

    @property
    def links(self) -> Iterable[ObservedLink]: ...

    @property
    def channel_count(self) -> int: ...

    @property
    def consumer_count(self) -> int: ...

    def unacknowledged(self, link: ObservedLink) -> int:
        """Deliveries of this link that the client has not settled."""

    def unconfirmed(self, link: ObservedLink) -> int:
        """Publishes to this link that wait for their confirm."""


class ObservedRunner(Protocol):
    """A live session's surroundings."""

    @property
    def session(self) -> ObservedSession: ...


class ObservedSums(Protocol):
    """What sessions counted: `trabbits.frontend.totals.Sums`."""

    received_frames: int
    sent_frames: int
    received_octets: int
    sent_octets: int

    @property
    def methods(self) -> Mapping[int, int]:
        """By class and method id."""

    @property
    def errored_methods(self) -> Mapping[int, int]:
        """0 stands for what belongs to no method."""

    @property
    def publishes(self) -> Mapping[str, int]:
        """By upstream."""

    @property
    def deliveries(self) -> Mapping[str, int]: ...

    @property
    def copies_sent(self) -> Mapping[str, int]: ...

    @property
    def copies_dropped(self) -> Mapping[str, int]: ...

    def include(self, runner: Any) -> None:
        """Add what a session has counted so far."""

    def copy(self) -> ObservedSums: ...


class ObservedTotals(Protocol):
    """Counters since the process began: `trabbits.frontend.totals.Totals`."""

    #: Clients that connected.
    connections: int
    #: Sessions that ended badly.
    connection_errors: int

    @property
    def gone(self) -> ObservedSums:
        """What the departed sessions have counted."""


class ObservedProcess(Protocol):
    """The process, as far as metrics look into it."""

    @property
    def config_hash(self) -> str: ...

    @property
    def stopping(self) -> bool: ...

    @property
    def upstream_names(self) -> Collection[str]:
        """Those of the running configuration."""

    @property
    def nodes(self) -> Iterable[NodeStatus]: ...

    @property
    def sessions(self) -> Mapping[str, ObservedRunner]:
        """The live ones, by id."""

    @property
    def totals(self) -> ObservedTotals: ...


@define
class NodeNumbers:
    """What is counted of one address; one that several upstreams share is one node."""

    links: int = 0
    attempts: int = 0
    connected: int = 0
    errors: int = 0
    checks: int = 0
    failed_checks: int = 0
    isolations: int = 0

    def include(self, status: NodeStatus) -> None:
        """Add what is known of the node under one upstream."""
        self.links += status.links
        self.attempts += status.connection_attempts
        self.connected += status.connect_times.number
        self.errors += status.connection_errors
        self.checks += status.checks
        self.failed_checks += status.failed_checks
        self.isolations += status.isolations


@define
class UpstreamNumbers:
    """What is counted of one upstream."""

    healthy: int = 0
    isolated: int = 0
    suspect: int = 0
    connect_times: Durations = field(factory=lambda: Durations(CONNECT_BOUNDS))
    unacknowledged: int = 0
    unconfirmed: int = 0
    blocked: int = 0
    publishes: int = 0
    deliveries: int = 0
    copies_sent: int = 0
    copies_dropped: int = 0


@define
class Reading:
    """One look at everything."""

    config_hash: str = ""
    stopping: bool = False
    clients: int = 0
    channels: int = 0
    consumers: int = 0
    connections: int = 0
    connection_errors: int = 0
    received_frames: int = 0
    sent_frames: int = 0
    received_octets: int = 0
    sent_octets: int = 0
    #: By names such as ``Basic.Publish``.
    methods: Mapping[str, int] = field(factory=dict)
    errored_methods: Mapping[str, int] = field(factory=dict)
    upstreams: dict[str, UpstreamNumbers] = field(factory=dict)
    #: By ``host:port``.
    nodes: dict[str, NodeNumbers] = field(factory=dict)
    log_levels: Mapping[str, int] = field(factory=dict)
    log_entries: Mapping[Entry, int] = field(factory=dict)
    reactor_lag: Durations = field(factory=lambda: Durations(()))


async def read(
    process: ObservedProcess, log: LogCounts, reactor_lag: Durations, turn: Callable[[], Deferred[None]]
) -> Reading:
    """Read everything.  `turn` gives the reactor its turn: it fires when that is over."""
    reading = Reading()
    for name in process.upstream_names:
        reading.upstreams[name] = UpstreamNumbers()
    _take(await _read_sessions(process, reading, turn), reading)
    _read_nodes(process.nodes, reading)
    reading.clients = len(process.sessions)
    reading.connections = process.totals.connections
    reading.connection_errors = process.totals.connection_errors
    reading.config_hash = process.config_hash
    reading.stopping = process.stopping
    reading.log_levels = log.levels
    reading.log_entries = log.entries
    reading.reactor_lag = reactor_lag
    return reading


async def _read_sessions(
    process: ObservedProcess, reading: Reading, turn: Callable[[], Deferred[None]]
) -> ObservedSums:
    """Go through the sessions; what all of them have counted.

    Sessions that leave meanwhile are counted here, since they were not among those that had left before: so no counter
    is ever less than at the last reading, which Prometheus would take for a restart.
    """
    sums = process.totals.gone.copy()
    for number, (session_id, runner) in enumerate(list(process.sessions.items()), 1):
        sums.include(runner)
        if session_id in process.sessions:
            _read_session(runner.session, reading)
        if number % SLICE == 0:
            await turn()
    return sums


def _read_session(session: ObservedSession, reading: Reading) -> None:
    """What is in flight at the moment."""
    upstreams = reading.upstreams
    reading.channels += session.channel_count
    reading.consumers += session.consumer_count
    for link in session.links:
        if link.open:
            # One that the running configuration does not have any more is named until its sessions are gone.
            numbers = upstreams.get(link.name) or upstreams.setdefault(link.name, UpstreamNumbers())
            numbers.unacknowledged += session.unacknowledged(link)
            numbers.unconfirmed += session.unconfirmed(link)
            numbers.blocked += bool(link.blocked)


def _take(sums: ObservedSums, reading: Reading) -> None:
    reading.received_frames = sums.received_frames
    reading.sent_frames = sums.sent_frames
    reading.received_octets = sums.received_octets
    reading.sent_octets = sums.sent_octets
    reading.methods = _by_name(sums.methods)
    reading.errored_methods = _by_name(sums.errored_methods)
    for name, numbers in reading.upstreams.items():
        numbers.publishes = sums.publishes.get(name, 0)
        numbers.deliveries = sums.deliveries.get(name, 0)
        numbers.copies_sent = sums.copies_sent.get(name, 0)
        numbers.copies_dropped = sums.copies_dropped.get(name, 0)


def _read_nodes(nodes: Iterable[NodeStatus], reading: Reading) -> None:
    for status in nodes:
        reading.nodes.setdefault(str(status.node), NodeNumbers()).include(status)
        upstream = reading.upstreams.get(status.upstream)
        if upstream is None:
            continue  # reloaded meanwhile
        upstream.healthy += status.healthy
        upstream.isolated += not status.healthy
        upstream.suspect += status.suspect
        upstream.connect_times.include(status.connect_times)


def _by_name(counts: Mapping[int, int]) -> dict[str, int]:
    named: dict[str, int] = {}
    for index, count in counts.items():
        info = METHODS.get(index)
        name = UNKNOWN_METHOD if info is None else str(info.frame_class.name)
        named[name] = named.get(name, 0) + count
    return named
