"""How the file is watched: with a clock of its own, and threads that are none."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from trabbits.interfaces import MessageProperties
from trabbits.plugins.declaring import PluginContext
from trabbits_tenant_routing import TenantOptions, TenantRouting, make


class Reactor(Clock):
    """Time passes when told; what is for a thread is done when `work` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Callable[[], None]] = []

    def getThreadPool(self) -> Reactor:
        return self

    def callInThreadWithCallback(self, result: Any, function: Any, *args: Any, **named: Any) -> None:
        def job() -> None:
            try:
                answer = function(*args, **named)
            except Exception:
                from twisted.python.failure import Failure

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

    def pass_interval(self) -> None:
        self.advance(5)
        self.work()


@pytest.fixture
def tenants(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.json"
    path.write_text('{"acme": "eu"}')
    return path


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def made(tenants: Path, reactor: Reactor | None) -> TenantRouting:
    return make(TenantOptions(file=str(tenants)), PluginContext(upstreams=("eu", "us"), reactor=reactor))


def acme(strategy: TenantRouting) -> str | None:
    return strategy.route_message("", "", MessageProperties({"tenant": "acme"}))


def replace(path: Path, value: Any) -> None:
    new = path.with_suffix(".new")
    new.write_text(value if isinstance(value, str) else json.dumps(value))
    new.rename(path)


def test_a_change_is_seen_after_the_interval(tenants: Path, reactor: Reactor) -> None:
    strategy = made(tenants, reactor)
    replace(tenants, {"acme": "us"})
    reactor.advance(4.9)
    assert (acme(strategy), reactor.jobs) == ("eu", [])
    reactor.advance(0.1)
    assert acme(strategy) == "eu"
    reactor.work()
    assert acme(strategy) == "us"
    replace(tenants, {})
    reactor.pass_interval()
    assert acme(strategy) is None


def test_an_unchanged_file_is_not_read(tenants: Path, reactor: Reactor) -> None:
    strategy = made(tenants, reactor)
    before = strategy.table.reading
    reactor.pass_interval()
    assert strategy.table.reading is before


def test_it_never_looks_twice_at_a_time(tenants: Path, reactor: Reactor) -> None:
    strategy = made(tenants, reactor)
    reactor.pump([5] * 10)
    assert len(reactor.jobs) == 1
    reactor.work()
    reactor.pump([5])
    assert len(reactor.jobs) == 1
    assert acme(strategy) == "eu"


def test_a_bad_file_changes_nothing_and_is_told_of_once(tenants: Path, reactor: Reactor) -> None:
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        strategy = made(tenants, reactor)
        replace(tenants, '{"acme": "moon"}')
        for _ in range(3):
            reactor.pass_interval()
        assert acme(strategy) == "eu"
        problems = [event["problem"] for event in events if "problem" in event]
        assert problems == [f"{tenants}: tenant 'acme' has 'moon', which is no upstream"]
        tenants.unlink()
        reactor.pass_interval()
        assert strategy.table.problem.endswith("cannot be read: No such file or directory")
        replace(tenants, {"acme": "us"})
        reactor.pass_interval()
        assert (acme(strategy), strategy.table.problem) == ("us", "")
    finally:
        globalLogPublisher.removeObserver(events.append)


def test_watching_ends_with_the_strategy(tenants: Path, reactor: Reactor) -> None:
    strategy = made(tenants, reactor)
    reactor.pass_interval()
    assert len(reactor.getDelayedCalls()) == 1
    del strategy
    gc.collect()
    reactor.pass_interval()
    assert reactor.getDelayedCalls() == []


def test_checking_a_configuration_starts_nothing(tenants: Path) -> None:
    assert acme(made(tenants, None)) == "eu"
