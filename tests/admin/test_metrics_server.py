"""Metrics over HTTP, from a real socket and a process that is a double.

Covered: answers, what is refused, scrapes that come together, errors, starting and stopping.
Not covered: the numbers (test_metrics.py), the command line (test_metrics_running.py).
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from attrs import frozen
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from tests.admin.metrics_doubles import ProcessDouble, Scraped, SumsDouble, TotalsDouble
from tests.faults.embedded import until
from tests.service.doubles import Events
from trabbits.admin import metrics_server
from trabbits.admin.metrics_reading import SLICE
from trabbits.admin.metrics_server import MetricsService
from trabbits.log_ids import LogId

reactor: Any = _reactor

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str


class CountedTotals(TotalsDouble):
    """Knows how often it is read, and fails if a test wants that."""

    read = 0
    broken = False

    @property
    def gone(self) -> SumsDouble:
        self.read += 1
        if self.broken:
            raise RuntimeError("oops")
        return SumsDouble()

    @gone.setter
    def gone(self, value: SumsDouble) -> None:
        pass


class Served:
    """A service, and somebody who asks it."""

    def __init__(self) -> None:
        self.totals = CountedTotals()
        self.process = ProcessDouble(totals=self.totals)
        self.service = MetricsService(self.process, reactor, "127.0.0.1", 0)
        self.events = Events()
        globalLogPublisher.addObserver(self.events)

    async def ask(self, method: str = "GET", path: str = "/metrics", body: bytes | None = None) -> Answer:
        port = self.service.port

        def ask() -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            with contextlib.closing(connection):
                connection.request(method, path, body)
                answer = connection.getresponse()
                headers = {key.lower(): value for key, value in answer.getheaders()}
                return Answer(answer.status, headers, answer.read().decode())

        return await deferToThread(ask)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.service.port), 10)

    def hold(self) -> Callable[[], None]:
        """Readings begin and wait in their first turn, until what this returns is called."""
        held: Deferred[None] = Deferred()
        service: Any = self.service
        service._turn = lambda: held
        for _ in range(SLICE):
            self.process.connect()

        def release() -> None:
            del service._turn
            held.callback(None)

        return release

    async def until_waiting(self, number: int) -> None:
        """So many scrapes wait."""
        await until(lambda: len(self.service._waiting) == number, 5, lambda: len(self.service._waiting))

    def logged(self, entry: LogId) -> list[dict[str, Any]]:
        return self.events.fields(entry)


@pytest_twisted.async_yield_fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    served.service.privilegedStartService()
    served.service.startService()
    yield served
    await served.service.stopService()
    globalLogPublisher.removeObserver(served.events)


@pytest_twisted.ensureDeferred
async def test_a_scrape(served: Served) -> None:
    """Prometheus' text format, whatever is asked for; log lines are counted from the start on."""
    answer = await served.ask()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(answer.headers["content-length"]) == len(answer.body)
    page = Scraped(answer.body)
    assert page["trabbits_client_connections"] == 0
    assert page["trabbits_logged_events_total", {"event": "metrics_listening"}] == 1
    assert (await served.ask()).status == 200
    (said,) = served.logged(LogId.METRICS_LISTENING)
    assert said == {"address": f"127.0.0.1:{served.service.port}", "port": served.service.port}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("HEAD", "/metrics", None, 200, ""),
        ("GET", "/", None, 200, 'href="/metrics"'),
        ("GET", "/metrics?name=x", None, 200, "trabbits_build_info"),
        ("GET", "/nothing", None, 404, "/metrics"),
        ("POST", "/metrics", b"x", 405, "only GET"),
        ("GET", "/metrics", b"x" * 1_000_000, 200, "trabbits_build_info"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_answers(served: Served, method: str, path: str, body: bytes | None, status: int, text: str) -> None:
    """There is one page and one that names it; a body is not looked at."""
    answer = await served.ask(method, path, body)
    assert answer.status == status
    assert text in answer.body


@pytest_twisted.ensureDeferred
async def test_scrapes_that_come_together_share_a_reading(served: Served) -> None:
    """Who asks often costs no more than who asks once."""
    release = served.hold()
    answers = gatherResults([Deferred.fromCoroutine(served.ask()) for _ in range(8)])
    await served.until_waiting(8)
    release()
    assert {answer.status for answer in await answers} == {200}
    assert served.totals.read == 1


@pytest_twisted.ensureDeferred
async def test_an_error_is_told_and_over(served: Served) -> None:
    """The scraper gets a 500 without details, the log gets all, and the next scrape works."""
    served.totals.broken = True
    answer = await served.ask()
    assert (answer.status, answer.body) == (500, "metrics could not be read, the log tells why\n")
    (said,) = served.logged(LogId.INTERNAL_ERROR)
    assert "oops" in said["text"]
    served.totals.broken = False
    assert (await served.ask()).status == 200


@pytest_twisted.ensureDeferred
async def test_a_scraper_that_does_not_wait(served: Served) -> None:
    """One that hangs up before the answer is forgotten, and disturbs nobody."""
    release = served.hold()
    with served.connect() as impatient:
        impatient.sendall(REQUEST)
        await served.until_waiting(1)
    await served.until_waiting(0)
    release()
    assert (await served.ask()).status == 200
    assert served.logged(LogId.INTERNAL_ERROR) == []


@pytest_twisted.ensureDeferred
async def test_connections_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than so many get nothing, and room again when one has gone."""
    monkeypatch.setattr(metrics_server, "CONNECTIONS", 2)
    first, second = served.connect(), served.connect()
    await until(lambda: len(served.service._connections.protocols) == 2, 5, lambda: "not connected")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        await served.ask()
    first.close()
    await until(lambda: len(served.service._connections.protocols) == 1, 5, lambda: "still connected")
    assert (await served.ask()).status == 200
    second.close()


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken(served: Served) -> None:
    """The error says which option helps; nothing is left of the attempt."""
    taken = served.service.port
    other = MetricsService(served.process, reactor, "127.0.0.1", taken)
    with pytest.raises(OSError, match=rf"port {taken} of 127.0.0.1: Address already in use; .* --metrics-port"):
        other.privilegedStartService()
    await other.stopService()


@pytest_twisted.ensureDeferred
async def test_stopping_leaves_nothing() -> None:
    """Neither port, connections, timers nor observer; a scrape that waits is let go of."""
    timers = set(reactor.getDelayedCalls())
    served = Served()
    served.hold()
    served.service.startService()
    port = served.service.port
    with served.connect() as waiting, served.connect() as idle:
        waiting.sendall(REQUEST)
        await served.until_waiting(1)
        await served.service.stopService()
        assert await deferToThread(waiting.recv, 1) == b""
        assert await deferToThread(idle.recv, 1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    await until(lambda: not served.service._connections.protocols, 5, lambda: "connections left")
    assert set(reactor.getDelayedCalls()) <= timers
    assert served.service._log_counts not in globalLogPublisher._observers
    assert served.logged(LogId.INTERNAL_ERROR) == []
    await served.service.stopService()
