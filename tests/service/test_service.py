"""The service tree: in which order it starts and stops, and what it survives.

Covered: listening, stopping in order, time limits, abort, the pid file.
Not covered: a real process with real signals (tests/cli), what the factory does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from trabbits.config import default_config
from trabbits.log_ids import LogId
from trabbits.service import ListenerService, Options, PidFileService, ProxyService, SessionsService, make_service


class FakeFactory(Factory):
    """Counts as `SessionFactory`; `closing` is the answer to `close_all`."""

    def __init__(self) -> None:
        self.sessions = {"proxy-1": object()}
        self.closing: Deferred[None] = Deferred()
        self.calls: list[tuple[int, str, float]] = []
        self.was_listening: bool | None = None
        self.listener: ListenerService | None = None

    def close_all(self, code: int, text: str, timeout: float) -> Deferred[None]:
        self.calls.append((code, text, timeout))
        if self.listener is not None:
            self.was_listening = bool(self.listener.running)
        return self.closing


class Reactor(MemoryReactorClock):
    """Runs hooks for a running reactor at once, and refuses ports on demand."""

    refuse = False

    def callWhenRunning(self, callable: Any, *args: Any, **kwargs: Any) -> None:
        callable(*args, **kwargs)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        if self.refuse:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        return super().listenTCP(port, factory, backlog, interface)


@implementer(ILogObserver)
class Events:
    """Every event that is logged in the meantime."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        self.all.append(event)

    @property
    def entries(self) -> list[LogId]:
        return [event["log_entry"] for event in self.all if "log_entry" in event]


@pytest.fixture
def events() -> Iterator[Events]:
    caught = Events()
    globalLogPublisher.addObserver(caught)
    yield caught
    globalLogPublisher.removeObserver(caught)


def fired(deferred: Deferred[None]) -> bool:
    return bool(deferred.called)


def started(reactor: Reactor, factory: FakeFactory, options: Options | None = None) -> ProxyService:
    proxy = ProxyService(default_config(), reactor)
    proxy.assemble(options or Options(), factory)
    factory.listener = next(child for child in proxy if isinstance(child, ListenerService))
    proxy.privilegedStartService()
    proxy.startService()
    return proxy


def test_listens_and_says_so(events: Events) -> None:
    """Starting binds the port once, with room for many clients at once, and logs the real address."""
    reactor = Reactor()
    started(reactor, FakeFactory(), Options(host="::1", port=1234))
    assert [server[0] for server in reactor.tcpServers] == [1234]
    assert reactor.tcpServers[0][2:] == (1024, "::1")
    (event,) = [event for event in events.all if event.get("log_entry") is LogId.LISTENING]
    assert event["log_fields"]["address"].startswith("[::1]:")
    assert event["log_fields"]["port"] == 1234 or event["log_fields"]["port"] > 0


def test_a_port_in_use_is_an_error() -> None:
    """What keeps the proxy from listening is raised, not only logged."""
    reactor = Reactor()
    reactor.refuse = True
    with pytest.raises(CannotListenError):
        started(reactor, FakeFactory())


def test_stops_in_order(events: Events) -> None:
    """First no new clients, then the farewell to those that are there, and only then "stopped"."""
    reactor, factory = Reactor(), FakeFactory()
    proxy = started(reactor, factory)
    done = proxy.stopService()
    assert factory.calls == [(320, "CONNECTION_FORCED - Server shutting down", 10.0)]
    assert factory.was_listening is False
    assert not fired(done)
    assert events.entries[-1:] == [LogId.STOPPING]
    factory.closing.callback(None)
    assert fired(done)
    assert events.entries[-1:] == [LogId.STOPPED]
    assert not proxy.running


def test_a_factory_that_never_answers(events: Events) -> None:
    """Stopping is bounded even if sessions are not closed in time; that is our fault and logged as such."""
    reactor, factory = Reactor(), FakeFactory()
    done = started(reactor, factory).stopService()
    reactor.advance(10.9)
    assert not fired(done)
    reactor.advance(0.2)
    assert fired(done)
    assert events.entries[-2:] == [LogId.INTERNAL_ERROR, LogId.STOPPED]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_factory_that_fails(asynchronous: bool, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while closing sessions keeps nothing from stopping."""
    reactor, factory = Reactor(), FakeFactory()
    proxy = started(reactor, factory)
    if asynchronous:
        factory.closing = fail(RuntimeError("oops"))
    else:
        monkeypatch.setattr(factory, "close_all", None)
    assert fired(proxy.stopService())
    assert events.entries[-2:] == [LogId.INTERNAL_ERROR, LogId.STOPPED]


def test_abort() -> None:
    """`abort` ends the wait for clients; before and after stopping it does nothing."""
    reactor, factory = Reactor(), FakeFactory()
    proxy = started(reactor, factory)
    proxy.abort()
    done = proxy.stopService()
    assert not fired(done)
    proxy.abort()
    assert fired(done)
    proxy.abort()


class Stubborn(Service):
    def stopService(self) -> None:
        raise RuntimeError("no")


def test_one_failing_child_does_not_keep_the_others(events: Events) -> None:
    reactor, factory = Reactor(), FakeFactory()
    factory.closing = succeed(None)
    proxy = started(reactor, factory)
    proxy.addService(Stubborn())
    assert fired(proxy.stopService())
    assert len(factory.calls) == 1
    assert LogId.INTERNAL_ERROR in events.entries


def test_pid_file(tmp_path: Path) -> None:
    """The file is there while the proxy runs, whole at once, and gone afterwards."""
    path = tmp_path / "trabbits.pid"
    path.write_text("99999999\n")
    reactor, factory = Reactor(), FakeFactory()
    factory.closing = succeed(None)
    proxy = started(reactor, factory, Options(pid_file=str(path)))
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["trabbits.pid"]
    assert fired(proxy.stopService())
    assert os.listdir(tmp_path) == []


def test_a_pid_file_of_somebody_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "trabbits.pid"
    service = PidFileService(path)
    service.startService()
    path.write_text("1\n")
    service.stopService()
    assert path.read_text() == "1\n"
    path.unlink()
    service.stopService()


def test_a_pid_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "trabbits.pid").mkdir()
    with pytest.raises(OSError):
        PidFileService(tmp_path / "trabbits.pid").startService()
    with pytest.raises(OSError):
        PidFileService(tmp_path / "missing" / "trabbits.pid").startService()
    assert os.listdir(tmp_path) == ["trabbits.pid"]


def test_make_service_builds_the_whole_tree(events: Events) -> None:
    """The real factory fits into the tree; the configuration is logged, without surprises."""
    pytest.importorskip("trabbits.frontend.listener")
    proxy = make_service(Options(pid_file="x.pid"), default_config(), Reactor())
    assert [child.name for child in proxy] == ["pid file", "sessions", "listener"]
    assert isinstance(list(proxy)[1], SessionsService)
    assert events.entries == [LogId.CONFIG_LOADED]
    assert list(proxy.upstreams) == ["default"]
