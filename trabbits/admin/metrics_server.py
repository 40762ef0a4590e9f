"""Metrics over HTTP, for Prometheus.

Lives here: `MetricsService`: the port, the page, and that scrapes that come together share one reading.  Must not
know: what is measured.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.task import deferLater
from twisted.logger import Logger, globalLogPublisher
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from trabbits.admin.log_counts import LogCounts
from trabbits.admin.metrics import Metrics, registry_of
from trabbits.admin.metrics_reading import ObservedProcess, Reading, read
from trabbits.admin.reactor_lag import ReactorLag
from trabbits.log_ids import LogId
from trabbits.logs import EventLog

#: Connections at the same time; more are closed at once, so that their files are there for clients.
CONNECTIONS = 50
#: Seconds after which a silent connection is closed; longer than the usual time between two scrapes.
IDLE = 120
#: The format that everybody reads.  Not OpenMetrics: a gauge ``x`` and a counter ``x_total`` cannot both be in it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_log = EventLog(Logger("trabbits.metrics"))


class MetricsService(Service):
    """Serves ``/metrics`` on a port of `host` (empty: every IPv4 address); 0 takes any free port.

    Log lines are counted and the reactor is watched from `privilegedStartService` to `stopService`.
    """

    name = "metrics"

    def __init__(self, process: ObservedProcess, reactor: Any, host: str, port: int) -> None:
        self._process = process
        self._reactor = reactor
        self._host = host
        self._port_wanted = port
        self._port: Any = None
        self._log_counts = LogCounts()
        self._lag = ReactorLag(reactor)
        self._metrics = Metrics()
        self._registry = registry_of(self._metrics)
        #: Scrapes that wait for a reading.
        self._waiting: list[Request] = []
        self._reading: Deferred[Any] | None = None
        site = _Site(_Pages(self), requestFactory=_Scrape, timeout=IDLE, reactor=reactor)
        self._connections = _Connections(site)

    @property
    def port(self) -> int:
        """The number of the port, once listening; never 0."""
        return int(self._port.getHost().port)

    def privilegedStartService(self) -> None:
        """Listen.  Raises OSError with what to do when that is not possible."""
        try:
            self._port = self._reactor.listenTCP(self._port_wanted, self._connections, interface=self._host)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise OSError(
                f"metrics cannot be served on port {self._port_wanted} of {self._host or 'every address'}: {reason}; "
                "give each process a --metrics-port of its own, or use --no-metrics"
            ) from None
        globalLogPublisher.addObserver(self._log_counts)

    def startService(self) -> None:
        """Say so, once the reactor runs."""
        super().startService()
        if self._port is None:
            self.privilegedStartService()
        self._lag.start()
        self._reactor.callWhenRunning(self._report)

    def stopService(self) -> Deferred[None]:
        """Fires when nothing listens any more; scrapes that wait get no answer."""
        if self.running:
            super().stopService()
        self._lag.stop()
        if self._port is None:
            return maybeDeferred(lambda: None)
        globalLogPublisher.removeObserver(self._log_counts)
        port, self._port = self._port, None
        if self._reading is not None:
            self._reading.cancel()
        stopped: Deferred[Any] = maybeDeferred(port.stopListening)
        self._connections.close()
        return stopped.addCallback(lambda _: None)

    def scrape(self, request: Request) -> None:
        """Answer, after the reading that is under way if there is one."""
        self._waiting.append(request)
        request.notifyFinish().addErrback(lambda _: self._forget(request))
        if self._reading is None:
            self._reading = Deferred.fromCoroutine(read(self._process, self._log_counts, self._lag.late, self._turn))
            self._reading.addCallback(self._answer).addErrback(self._failed)

    def _answer(self, reading: Reading) -> None:
        """One that came while the reading was under way gets numbers that are as old as that: a few milliseconds."""
        self._metrics.reading = reading
        page = generate_latest(self._registry)
        for request in self._over():
            request.setHeader("content-type", CONTENT_TYPE)
            _send(request, page)

    def _failed(self, failure: Failure) -> None:
        waiting = self._over()
        if self._port is None:
            return  # stopping
        _log(LogId.INTERNAL_ERROR, text=f"metrics could not be read: {failure.getErrorMessage()}", error=failure)
        for request in waiting:
            _send(request, _text(request, 500, "metrics could not be read, the log tells why"))

    def _over(self) -> list[Request]:
        """The reading is over; who waits for it."""
        self._reading = None
        waiting, self._waiting = self._waiting, []
        return waiting

    def _forget(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)

    def _turn(self) -> Deferred[None]:
        turn: Deferred[None] = deferLater(self._reactor, 0)
        return turn

    def _report(self) -> None:
        if self._port is not None:
            host = self._port.getHost()
            _log(LogId.METRICS_LISTENING, address=f"{_bracketed(host.host)}:{host.port}", port=host.port)


class _Pages(Resource):
    """The page, and one for people who look for it."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, service: MetricsService) -> None:
        super().__init__()
        self._service = service

    def render(self, request: Request) -> bytes | int:
        """Whatever is asked for; never fails."""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("allow", "GET, HEAD")
            return _text(request, 405, "only GET and HEAD")
        if request.path == b"/metrics":
            self._service.scrape(request)
            return NOT_DONE_YET
        if request.path == b"/":
            request.setHeader("content-type", "text/html; charset=utf-8")
            return b'<!DOCTYPE html><title>trabbits</title><p>trabbits: <a href="/metrics">metrics</a></p>\n'
        return _text(request, 404, "metrics are at /metrics")


class _Scrape(Request):
    """A request without a body: one that comes nevertheless is not kept."""

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Forget it."""


class _Site(Site):
    """Without a log of its own."""

    noisy = False

    def log(self, request: Any) -> None:
        """Scrapes are nobody's business."""


class _Connections(WrappingFactory):
    """Knows the connections, and lets in no more than `CONNECTIONS`."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self.protocols) >= CONNECTIONS:
            return None
        return super().buildProtocol(addr)

    def close(self) -> None:
        """Close all."""
        for protocol in list(self.protocols):
            protocol.loseConnection()


def _text(request: Request, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader("content-type", "text/plain; charset=utf-8")
    return f"{text}\n".encode()


def _send(request: Request, page: bytes) -> None:
    request.setHeader("content-length", str(len(page)))
    request.write(page)
    request.finish()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
