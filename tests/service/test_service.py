"""The service tree: in which order it starts and stops, and what it survives.

Covered: listening, stopping in order, time limits, abort.
Not covered: a real process with real signals (tests/cli), sockets (test_listening.py), reloading (test_reloading.py).
"""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.logger import globalLogPublisher

from tests.service.doubles import Events, FakeFactory, Reactor
from trabbits.config import Config, default_config
from trabbits.config.model import GracefulShutdownConfig
from trabbits.frontend.draining import Pace
from trabbits.log_ids import LogId
from trabbits.service import Options, ProxyService, make_service, read_config
from trabbits.service.listening import ListenerService
from trabbits.service.sessions import SessionsService

FAREWELL = (320, "CONNECTION_FORCED - Server shutting down")
LOCAL = Options(host="127.0.0.1", port=0)


def fired(deferred: Deferred[Any]) -> bool:
    return bool(deferred.called)


def started(reactor: Reactor, factory: FakeFactory, options: Options = LOCAL, **graceful: Any) -> ProxyService:
    config = default_config()
    if graceful:
        config = Config(upstreams=config.upstreams, graceful_shutdown=GracefulShutdownConfig.model_validate(graceful))
    proxy = ProxyService(config, reactor)
    proxy.assemble(options, factory, {})
    factory.listener = next(child for child in proxy if isinstance(child, ListenerService))
    proxy.privilegedStartService()
    proxy.startService()
    return proxy


def test_listens_and_says_so(events: Events) -> None:
    """Starting binds the port once, and logs the real address."""
    reactor = Reactor()
    started(reactor, FakeFactory(reactor), Options(host="::1", port=0))
    assert [family for _, family, _ in reactor.adoptedPorts] == [socket.AF_INET6]
    (fields,) = events.fields(LogId.LISTENING)
    assert fields["address"].startswith("[::1]:")
    assert not fields["address"].endswith(":0")
    assert (fields["socket"], fields["port"] > 0) == ("shared", True)


def test_a_port_in_use_is_an_error() -> None:
    """What keeps the proxy from listening is raised, not only logged."""
    reactor = Reactor()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotListenError):
        started(reactor, FakeFactory(reactor), Options(host="127.0.0.1", port=taken.getsockname()[1]))


def test_stops_in_order(events: Events) -> None:
    """First no new clients, then the farewell to those that are there, and only then "stopped"."""
    reactor = Reactor()
    factory = FakeFactory(reactor, 1)
    proxy = started(reactor, factory)
    done = proxy.stopService()
    assert factory.asked == [(*FAREWELL, Pace(10, 100, 9.0), False)]
    (client,) = factory.sessions.values()
    assert client.replies == [FAREWELL]
    assert not fired(done)
    assert events.entries[-1:] == [LogId.STOPPING]
    client.leave()
    assert fired(done)
    assert events.entries[-1:] == [LogId.STOPPED]
    assert not proxy.running
    assert reactor.getDelayedCalls() == []


def test_clients_leave_at_the_configured_pace(events: Events) -> None:
    """In the last second everyone is told who was not, so that nobody is cut off without a word."""
    reactor = Reactor()
    factory = FakeFactory(reactor, 100, polite=True)
    done = started(reactor, factory, burst_size=5, rate_limit=10, shutdown_timeout="4s").stopService()
    assert len(factory.sessions) == 95
    for _ in range(200):
        reactor.advance(0.01)
    assert len(factory.sessions) == pytest.approx(75, abs=1)
    assert not fired(done)
    for _ in range(101):
        reactor.advance(0.01)
    assert not factory.sessions
    assert fired(done)
    assert LogId.SESSIONS_DROPPED not in events.entries


def test_whoever_does_not_leave_in_time_is_dropped(events: Events) -> None:
    reactor = Reactor()
    factory = FakeFactory(reactor, 2)
    clients = list(factory.sessions.values())
    done = started(reactor, factory).stopService()
    clients[0].leave()
    reactor.advance(9.9)
    assert not fired(done)
    reactor.advance(0.2)
    assert [client.aborted for client in clients] == [False, True]
    assert fired(done)
    assert events.entries[-2:] == [LogId.SESSIONS_DROPPED, LogId.STOPPED]
    assert events.fields(LogId.SESSIONS_DROPPED)[0]["sessions"] == 1
    assert reactor.getDelayedCalls() == []


def test_dropped_sessions_that_stay_are_not_waited_for(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping is bounded, whatever sessions do."""
    reactor = Reactor()
    factory = FakeFactory(reactor, 1)
    (client,) = factory.sessions.values()
    monkeypatch.setattr(client, "abort", lambda: None)
    done = started(reactor, factory).stopService()
    reactor.advance(10)
    assert not fired(done)
    reactor.advance(1)
    assert fired(done)


@pytest.mark.parametrize("how", ["close_sessions", "when_empty", "abort_all"])
def test_a_factory_that_fails(how: str, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while sessions are closed keeps nothing from stopping."""
    reactor = Reactor()
    factory = FakeFactory(reactor)
    proxy = started(reactor, factory)
    monkeypatch.setattr(factory, how, lambda: fail(RuntimeError("oops")) if how == "when_empty" else None)
    done = proxy.stopService()
    reactor.advance(11)
    assert fired(done)
    assert events.entries[-1] == LogId.STOPPED


def test_abort(events: Events) -> None:
    """`abort` ends the wait for clients; before stopping, and a second time, it does nothing."""
    reactor = Reactor()
    factory = FakeFactory(reactor, 1)
    (client,) = factory.sessions.values()
    proxy = started(reactor, factory)
    proxy.abort()
    assert not proxy.aborted
    done = proxy.stopService()
    assert not fired(done)
    proxy.abort()
    proxy.abort()
    assert fired(done)
    assert client.aborted
    assert proxy.aborted
    assert events.entries.count(LogId.ABORTED) == 1


def test_abort_while_the_listener_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody is asked politely."""
    reactor = Reactor()
    factory = FakeFactory(reactor, 1)
    proxy = started(reactor, factory)
    stopping: Deferred[None] = Deferred()
    monkeypatch.setattr(factory.listener, "stopService", lambda: stopping)
    done = proxy.stopService()
    proxy.abort()
    stopping.callback(None)
    assert fired(done)
    assert factory.asked == []
    assert not factory.sessions


class Stubborn(Service):
    def stopService(self) -> None:
        raise RuntimeError("no")


def test_one_failing_child_does_not_keep_the_others(events: Events) -> None:
    reactor = Reactor()
    factory = FakeFactory(reactor)
    proxy = started(reactor, factory)
    proxy.addService(Stubborn())
    assert fired(proxy.stopService())
    assert len(factory.asked) == 1
    assert LogId.INTERNAL_ERROR in events.entries


def test_without_metrics() -> None:
    reactor = Reactor()
    proxy = started(reactor, FakeFactory(reactor), Options(host="127.0.0.1", port=0, metrics_port=None))
    assert "metrics" not in [child.name for child in proxy]
    assert reactor.tcpServers == []


def test_a_start_that_fails_leaves_no_metrics_behind() -> None:
    """Their port is free again, and nobody counts log lines any more."""
    reactor = Reactor()
    observers = len(globalLogPublisher._observers)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotListenError):
        started(reactor, FakeFactory(reactor), Options(host="127.0.0.1", port=taken.getsockname()[1]))
    assert len(reactor.tcpServers) == 1
    assert len(globalLogPublisher._observers) == observers
    assert reactor.getDelayedCalls() == []


def test_make_service_builds_the_whole_tree(events: Events) -> None:
    """The real factory fits into the tree; the configuration is logged, without surprises."""
    options = Options(pid_file="x.pid")
    proxy = make_service(options, read_config(options), Reactor(), {})
    children = [child.name for child in proxy]
    assert children[:3] == ["signals", "notifications", "pid file"]
    assert children[3:] == ["metrics", "health checks", "sessions", "listener", "TLS listener"]
    assert isinstance(list(proxy)[-3], SessionsService)
    assert events.entries == [LogId.CONFIG_LOADED]
    assert list(proxy.upstreams) == ["default"]
