"""How the key set is kept up to date: with a clock of its own, and threads that are none."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from making import Signer, write_keys
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from trabbits.interfaces import Identity, Peer, Refusal
from trabbits.plugins.declaring import PluginContext
from trabbits_jwt_auth import JwtMechanism, JwtOptions, make

OLD, NEW = Signer("old"), Signer("new")
PEER = Peer(address="127.0.0.1:5000", tls=True)


class Reactor(Clock):
    """Time passes when told; what is for a thread is done when `work` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Callable[[], None]] = []

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        function()

    def getThreadPool(self) -> Reactor:
        return self

    def callInThreadWithCallback(self, result: Any, function: Any, *args: Any, **named: Any) -> None:
        def job() -> None:
            try:
                answer = function(*args, **named)
            except Exception:
                result(False, Failure())
            else:
                result(True, answer)

        self.jobs.append(job)

    def callFromThread(self, function: Any, *args: Any, **named: Any) -> None:
        function(*args, **named)

    def work(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys.json", OLD)


def made(file: Path, reactor: Reactor | None) -> JwtMechanism:
    return make(JwtOptions(keys=str(file)), PluginContext(reactor=reactor))


def accepts(mechanism: JwtMechanism, signer: Signer) -> bool:
    answer = mechanism.begin(PEER).respond(b"\0app\0" + signer.token("app").encode())
    assert isinstance(answer, Identity | Refusal)
    return isinstance(answer, Identity)


def test_keys_can_be_changed_at_any_time(file: Path, reactor: Reactor) -> None:
    mechanism = made(file, reactor)
    assert accepts(mechanism, OLD)
    write_keys(file, OLD, NEW)
    reactor.advance(60)
    reactor.work()
    assert accepts(mechanism, OLD)
    assert accepts(mechanism, NEW)
    write_keys(file, NEW)
    reactor.advance(60)
    reactor.work()
    assert not accepts(mechanism, OLD)
    assert accepts(mechanism, NEW)


def test_a_key_that_is_missing_is_looked_for_at_once_but_not_for_everybody(file: Path, reactor: Reactor) -> None:
    mechanism = made(file, reactor)
    reactor.advance(5)
    write_keys(file, OLD, NEW)
    assert not accepts(mechanism, NEW)
    assert not accepts(mechanism, NEW)
    assert len(reactor.jobs) == 1
    reactor.work()
    assert accepts(mechanism, NEW)
    assert not accepts(mechanism, Signer("never"))
    assert reactor.jobs == []
    reactor.advance(5)
    assert not accepts(mechanism, Signer("never"))
    assert len(reactor.jobs) == 1


def test_reading_goes_on_at_its_interval_after_one_ahead_of_time(file: Path, reactor: Reactor) -> None:
    mechanism = made(file, reactor)
    reactor.advance(30)
    assert not accepts(mechanism, NEW)
    reactor.work()
    reactor.advance(59)
    assert reactor.jobs == []
    reactor.advance(1)
    assert len(reactor.jobs) == 1


def test_a_bad_set_changes_nothing_and_is_told_of_once(file: Path, reactor: Reactor) -> None:
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        mechanism = made(file, reactor)
        file.write_text("nonsense")
        for _ in range(3):
            reactor.advance(60)
            reactor.work()
        assert accepts(mechanism, OLD)
        assert [event["problem"] for event in events if "problem" in event] == [f"{file} is no JSON"]
    finally:
        globalLogPublisher.removeObserver(events.append)


def test_refreshing_ends_with_the_mechanism(file: Path, reactor: Reactor) -> None:
    mechanism = made(file, reactor)
    assert len(reactor.getDelayedCalls()) == 1
    del mechanism
    gc.collect()
    reactor.advance(60)
    assert (reactor.jobs, reactor.getDelayedCalls()) == ([], [])


def test_checking_a_configuration_starts_nothing(file: Path) -> None:
    assert accepts(made(file, None), OLD)


def test_keys_behind_a_url_are_fetched_when_it_runs(reactor: Reactor) -> None:
    # Nobody listens there, and nothing is asked before the reactor runs.
    options = JwtOptions(keys="http://127.0.0.1:1/keys")
    make(options, PluginContext())
    mechanism = make(options, PluginContext(reactor=reactor))
    assert len(reactor.jobs) == 1
    reactor.work()
    assert "cannot be read" in mechanism.keys.problem
    assert not accepts(mechanism, OLD)
