"""What this process knows about the nodes of its upstreams.

Lives here: `NodeStatus`, what is counted and concluded about one node, and `NodeTable`, which keeps the statuses over
reloads.  Must not know: how a node is tried or checked (``upstream.py``, ``health.py``), or who reads the numbers.

Two things speak against a node.  *Isolated*: the health check says so, until it says otherwise.  *Suspect*: a client
was failed by it, which is forgotten after a while.  Neither forbids a node, others just go first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from trabbits.durations import Durations
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.upstream.node import Node

Log = Callable[..., None]
Labels = Mapping[str, str]

#: Characters kept of an error.
TEXT_LIMIT = 500
#: Seconds by which the times to connect are counted.
CONNECT_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_NO_LABELS: Labels = MappingProxyType({})


@define(eq=False)
class NodeStatus:
    """One node of the upstream named `upstream`.  Plain attributes, for everybody to read; times are the clock's."""

    upstream: str
    node: Node
    clock: IReactorTime = field(repr=False)
    log: Log = field(repr=False)
    #: Links of this process to the node, those that are being opened included; health checks are not.
    links: int = 0
    #: False while the node is isolated.
    healthy: bool = True
    #: Failed health checks in a row.
    failures: int = 0
    #: Set when a client was failed: until then the node is suspect.
    suspect_until: float | None = None
    #: What went wrong last, on whatever way; empty for nothing yet.
    last_error: str = ""
    last_check: float | None = None
    #: When the node was isolated or recovered, became suspect or trusted.
    last_change: float | None = None
    #: Since the process began (or the node was configured).
    checks: int = 0
    failed_checks: int = 0
    isolations: int = 0
    recoveries: int = 0
    connection_attempts: int = 0
    connection_errors: int = 0
    passive_signs: int = 0
    #: From the beginning of an attempt until the node accepted user and password, of those that got there.
    connect_times: Durations = field(factory=lambda: Durations(CONNECT_BOUNDS), repr=False)
    #: What the configuration says about the node, for selectors; cannot be changed in place.
    labels: Labels = field(default=_NO_LABELS, repr=False)
    _isolated_at: float = 0.0
    #: Whether the suspicion rests on an attempt that failed, and not on lost links alone.
    _attempt_failed: bool = False

    @property
    def suspect(self) -> bool:
        """Whether a client was failed by the node lately, and nothing has gone well since."""
        return self.suspect_until is not None and self.clock.seconds() < self.suspect_until

    @property
    def usable(self) -> bool:
        """Whether a link is worth an attempt where nobody has to have one.

        That links were lost does not forbid it: a client can make a broker hang up on it, and must not be able to keep
        all others from the node.
        """
        return self.healthy and not (self.suspect and self._attempt_failed)

    # What sessions meet

    def attempt_begins(self, timeout: float) -> None:
        """A session opens a link here, which it knows how it went after at most `timeout` seconds."""
        self.links += 1
        self.connection_attempts += 1
        if self.suspect_until is not None:
            # A suspicion that is over is tried out by one session; the others see first what becomes of it.
            self.suspect_until = max(self.suspect_until, self.clock.seconds() + timeout)

    def attempt_failed(self, text: str, seconds: float) -> None:
        """The attempt met a node that does not work; it is suspect for `seconds`."""
        self.connection_errors += 1
        self._failed_client(text, seconds)
        self._attempt_failed = True

    def attempt_ended(self, text: str) -> None:
        """The attempt failed, and that may be the client's fault: the next one may try at once."""
        self.connection_errors += 1
        self.last_error = text[:TEXT_LIMIT]
        if self.suspect_until is not None:
            self.suspect_until = min(self.suspect_until, self.clock.seconds())

    def link_lost(self, text: str, seconds: float) -> None:
        """A session lost its link; the node is suspect for `seconds`."""
        if not self.suspect:
            self._attempt_failed = False
        self._failed_client(text, seconds)

    def _failed_client(self, text: str, seconds: float) -> None:
        """A session was failed by the node: a passive sign."""
        self.passive_signs += 1
        self.last_error = text[:TEXT_LIMIT]
        was_suspect, now = self.suspect, self.clock.seconds()
        self.suspect_until = max(self.suspect_until or 0.0, now + seconds)
        if not was_suspect:
            self.last_change = now
            self.log(LogId.NODE_SUSPECT, upstream=self.upstream, node=str(self.node), text=self.last_error)

    def worked(self) -> None:
        """An attempt or a check went well."""
        if self.suspect_until is not None:
            self.suspect_until = None
            self.last_change = self.clock.seconds()
            self.log(LogId.NODE_TRUSTED, upstream=self.upstream, node=str(self.node))

    def link_gone(self) -> None:
        """The transport of a link, or of an attempt at one, is gone."""
        self.links -= 1

    # What health checks find

    def check_succeeded(self) -> None:
        """The node passed a health check."""
        self._checked()
        self.failures = 0
        self.worked()
        if not self.healthy:
            self.healthy = True
            self.recoveries += 1
            self.last_change = self.clock.seconds()
            isolated = self.last_change - self._isolated_at
            self.log(LogId.NODE_RECOVERED, upstream=self.upstream, node=str(self.node), seconds=isolated)

    def check_failed(self, text: str, threshold: int) -> None:
        """The node failed a health check; it is isolated when it was the `threshold`-th in a row."""
        self._checked()
        self.failed_checks += 1
        self.failures += 1
        self.last_error = text[:TEXT_LIMIT]
        said = {
            "upstream": self.upstream,
            "node": str(self.node),
            "failures": self.failures,
            "text": self.last_error,
        }
        self.log(LogId.NODE_CHECK_FAILED, **said)
        if self.healthy and self.failures >= threshold:
            self.healthy = False
            self.isolations += 1
            self.last_change = self._isolated_at = self.clock.seconds()
            self.log(LogId.NODE_ISOLATED, **said)

    def not_checked_any_more(self) -> None:
        """Nobody could lift an isolation any more, so it ends."""
        if not self.healthy:
            self.last_change = self.clock.seconds()
        self.healthy = True
        self.failures = 0

    def _checked(self) -> None:
        self.checks += 1
        self.last_check = self.clock.seconds()


class NodeTable:
    """The statuses of all configured nodes, in the configuration's order.  It outlives configurations."""

    def __init__(self, clock: Any, log: Log | None = None) -> None:
        self._clock = clock
        self._log = log if log is not None else EventLog(Logger("trabbits.upstream"))
        self._statuses: dict[tuple[str, Node], NodeStatus] = {}

    def keep(self, nodes: Iterable[tuple[str, Node]], labels: Mapping[tuple[str, Node], Labels] | None = None) -> None:
        """From now on these, named with their upstreams, are all nodes: known ones stay as they are, others go.

        `labels` are those of all nodes that have any.
        """
        known = self._statuses
        self._statuses = {
            (upstream, node): known.get((upstream, node)) or NodeStatus(upstream, node, self._clock, self._log)
            for upstream, node in nodes
        }
        for key, status in self._statuses.items():
            status.labels = MappingProxyType(dict((labels or {}).get(key, _NO_LABELS)))

    def of(self, upstream: str) -> tuple[NodeStatus, ...]:
        """The nodes of one upstream."""
        return tuple(status for status in self if status.upstream == upstream)

    def __iter__(self) -> Iterator[NodeStatus]:
        return iter(self._statuses.values())

    def __len__(self) -> int:
        return len(self._statuses)
