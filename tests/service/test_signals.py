"""Signals: which does what, and that nothing is done inside of a signal handler.

Covered: `SignalsService` by itself.  Not covered: real signals (tests/cli).
"""

from __future__ import annotations

import signal
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ReactorNotRunning

from tests.service.doubles import Reactor
from trabbits.service.signals import Handler, SignalsService


class FakeProxy:
    def __init__(self) -> None:
        self.running: Any = True
        self.reloads = 0
        self.aborts = 0

    def reload(self) -> Deferred[Any]:
        self.reloads += 1
        return fail(ValueError("a bad file"))

    def abort(self) -> None:
        self.aborts += 1


class Handlers(dict[int, Handler]):
    """What is installed, in place of the process' own."""

    def service(self, proxy: FakeProxy, reactor: Reactor) -> SignalsService:
        return SignalsService(proxy, reactor, self.install)

    def install(self, number: int, handler: Handler) -> Handler | None:
        before = self.get(number)
        self[number] = handler
        return before


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


def begun(handlers: Handlers, reactor: Reactor, proxy: FakeProxy) -> SignalsService:
    service = handlers.service(proxy, reactor)
    service.privilegedStartService()
    service.startService()
    return service


def send(handlers: Handlers, number: int, reactor: Reactor) -> None:
    handlers[number](number, None)
    reactor.turn()


def test_sighup_is_heard_before_the_reactor_runs(handlers: Handlers) -> None:
    """By default it would end the process; the reload waits for the reactor."""
    reactor, proxy = Reactor(), FakeProxy()
    service = handlers.service(proxy, reactor)
    service.privilegedStartService()
    assert list(handlers) == [signal.SIGHUP]
    handlers[signal.SIGHUP](signal.SIGHUP, None)
    assert proxy.reloads == 0
    service.startService()
    reactor.turn()
    assert proxy.reloads == 1


def test_sighup_while_stopping_is_ignored(handlers: Handlers) -> None:
    reactor, proxy = Reactor(), FakeProxy()
    begun(handlers, reactor, proxy)
    proxy.running = False
    send(handlers, signal.SIGHUP, reactor)
    assert proxy.reloads == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_one_stops_and_two_abort(handlers: Handlers, first: int, second: int) -> None:
    reactor, proxy = Reactor(), FakeProxy()
    begun(handlers, reactor, proxy)
    handlers[first](first, None)
    assert reactor.stopped == 0  # not inside of the handler
    reactor.turn()
    assert (reactor.stopped, proxy.aborts) == (1, 0)
    proxy.running = False
    send(handlers, second, reactor)
    assert (reactor.stopped, proxy.aborts) == (1, 1)


def test_a_signal_while_something_else_stops_the_process(handlers: Handlers) -> None:
    """Then the first one is the second."""
    reactor, proxy = Reactor(), FakeProxy()
    begun(handlers, reactor, proxy)
    proxy.running = False
    send(handlers, signal.SIGTERM, reactor)
    assert (reactor.stopped, proxy.aborts) == (0, 1)


def test_a_reactor_that_is_stopping_already(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    reactor, proxy = Reactor(), FakeProxy()
    begun(handlers, reactor, proxy)

    def stop() -> None:
        raise ReactorNotRunning

    monkeypatch.setattr(reactor, "stop", stop)
    send(handlers, signal.SIGTERM, reactor)
    assert proxy.aborts == 0


def test_whoever_was_there_before_has_them_back(handlers: Handlers) -> None:
    """But SIGHUP, which would end the process in its last moment."""
    reactor, proxy = Reactor(), FakeProxy()

    def before(number: int, frame: Any) -> None:
        raise AssertionError

    handlers.update({signal.SIGTERM: before, signal.SIGINT: before})
    service = begun(handlers, reactor, proxy)
    assert handlers[signal.SIGTERM] is not before
    service.stopService()
    assert handlers[signal.SIGTERM] is handlers[signal.SIGINT] is before
    assert handlers[signal.SIGHUP] is not before
