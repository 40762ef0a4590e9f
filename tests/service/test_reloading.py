"""Reloading: everything changes at once or nothing does, and who has to leave.

Covered: `ProxyService.reload` and `apply`, `Reloads`.  Not covered: the pace (tests/frontend/test_draining.py), real
clients (tests/operation).
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.service.doubles import Events, FakeFactory, Reactor
from trabbits.config import ConfigError, Loaded, Problem, validate_config
from trabbits.interfaces import INodeSelector
from trabbits.log_ids import LogId
from trabbits.plugins.catalogue import Catalogue, Found, discover
from trabbits.plugins.declaring import Plugin, PluginOptions
from trabbits.service import Options, ProxyService, Reloaded, ReloadImpossible, read_config
from trabbits.service import proxy as proxy_module
from trabbits.service.health import HealthService
from trabbits.service.reloading import LOAD_TIMEOUT, Reloads, in_thread

UPDATED = (320, "CONNECTION_FORCED - Configuration updated, please reconnect")
CONFIG: dict[str, Any] = {"upstreams": [{"name": "a", "address": "localhost:1"}]}


def loaded(**changes: Any) -> Loaded:
    return Loaded(validate_config({**CONFIG, **changes}, "test"), (), "test")


class Running:
    """A proxy that runs, with a configuration file."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.path = folder / "config.json"
        self.write(**changes)
        self.options = Options(config=str(self.path), host="127.0.0.1", port=0)
        self.reactor = Reactor()
        self.factory = FakeFactory(self.reactor)
        self.proxy = ProxyService(read_config(self.options).config, self.reactor)
        self.proxy.assemble(self.options, self.factory, {})
        self.proxy.startService()

    @property
    def hash(self) -> str:
        return self.proxy.settings.config_hash

    def write(self, **changes: Any) -> None:
        self.path.write_text(json.dumps({**CONFIG, **changes}))

    def reload(self) -> Reloaded:
        """Reload and wait for it; raises what it failed with."""
        return outcome(self.reactor, self.proxy.reload())


def outcome(reactor: Reactor, answer: Deferred[Any]) -> Any:
    """The result of something that a thread works on."""
    for thread in threading.enumerate():
        if thread.name == "configuration":
            thread.join(10)
    reactor.turn()
    results: list[Any] = []
    answer.addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path)


def test_everything_changes_at_once(running: Running, events: Events) -> None:
    """New sessions get the new configuration; those that are there are told to come again."""
    old, old_settings = running.hash, running.proxy.settings
    clients = running.factory.connect(3, old)
    running.write(heartbeat=7, upstreams=[{"name": "b", "address": "localhost:2"}])
    reloaded = running.reload()
    assert reloaded == Reloaded(running.hash, changed=True, outdated=3)
    assert running.hash != old
    assert old_settings.heartbeat == 60
    assert running.proxy.settings.heartbeat == 7
    assert list(running.proxy.upstreams) == ["b"]
    assert [(status.upstream, str(status.node)) for status in running.proxy.nodes] == [("b", "localhost:2")]
    assert [client.replies for client in clients] == [[UPDATED]] * 3
    (fields,) = events.fields(LogId.CONFIG_RELOADED)
    assert (fields["hash"], fields["sessions"], fields["upstreams"]) == (running.hash, 3, ["b (localhost:2)"])
    assert LogId.RELOAD_FINISHED not in events.entries
    running.reactor.advance(0.5)
    for client in clients:
        client.leave()
    (finished,) = events.fields(LogId.RELOAD_FINISHED)
    assert (finished["closed"], finished["seconds"]) == (3, 0.5)


def test_what_is_no_concern_of_clients_moves_nobody(running: Running) -> None:
    before = running.hash
    clients = running.factory.connect(2, before)
    running.write(admin={"listen": "127.0.0.1:0", "token": "another"})
    result = running.reload()
    assert (result.changed, result.outdated) == (True, 0)
    assert running.hash != before
    assert [client.replies for client in clients] == [[], []]


def test_the_new_configuration_says_how_fast(running: Running) -> None:
    clients = running.factory.connect(10, running.hash)
    running.write(graceful_shutdown={"burst_size": 4, "rate_limit": 1, "reload_timeout": "3s"})
    running.reload()
    assert sum(bool(client.replies) for client in clients) == 4
    running.reactor.advance(3.1)
    assert all(client.replies for client in clients)


def test_what_is_the_same_changes_nothing(running: Running, events: Events) -> None:
    """Defaults written out, other spellings and another order of keys disconnect nobody."""
    clients = running.factory.connect(1, running.hash)
    settings, upstreams = running.proxy.settings, running.proxy.upstreams
    running.path.write_text(json.dumps({"heartbeat": 60, "handshake_timeout": "5000ms", **CONFIG}))
    assert running.reload() == Reloaded(settings.config_hash, changed=False, outdated=0)
    assert running.proxy.settings is settings
    assert running.proxy.upstreams is upstreams
    assert clients[0].replies == []
    assert [event for event in events.entries if event.id in ("TR007", "TR008", "TR010")] == [LogId.CONFIG_UNCHANGED]


def test_a_bad_file_changes_nothing_and_says_why(running: Running, events: Events) -> None:
    """Every problem is in the log."""
    clients = running.factory.connect(1, running.hash)
    before = running.proxy.config, running.proxy.settings, running.proxy.upstreams, list(running.proxy.nodes)
    running.write(heartbeat="x", colour=1, upstreams=[])
    with pytest.raises(ConfigError):
        running.reload()
    assert before == (
        running.proxy.config,
        running.proxy.settings,
        running.proxy.upstreams,
        list(running.proxy.nodes),
    )
    assert clients[0].replies == []
    (fields,) = events.fields(LogId.CONFIG_REFUSED)
    assert len(fields["problems"]) == 3
    for name in ("heartbeat", "colour", "upstreams"):
        assert name in fields["text"]
    running.path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        running.reload()


@implementer(INodeSelector)
class Hollow:  # type: ignore[misc]
    """Says that it is a selector, and is none."""


def test_a_plugin_that_keeps_no_promise_changes_nothing(
    running: Running, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    declaration = Plugin("hollow", INodeSelector, PluginOptions, lambda options, context: Hollow())
    catalogue = Catalogue([*discover().found, Found(declaration, "here")], [])
    monkeypatch.setattr("trabbits.config.plugin_use.discover", lambda: catalogue)
    clients = running.factory.connect(1, running.hash)
    before = running.proxy.config, running.proxy.settings, running.proxy.upstreams
    running.write(upstreams=[{"name": "b", "address": "localhost:2", "selector": {"plugin": "hollow"}}])
    with pytest.raises(ConfigError, match="Hollow has no order"):
        running.reload()
    assert before == (running.proxy.config, running.proxy.settings, running.proxy.upstreams)
    assert clients[0].replies == []
    (fields,) = events.fields(LogId.CONFIG_REFUSED)
    assert fields["problems"] == [
        'upstreams[0].selector.options: what the plugin "hollow" makes is wrong: Hollow has no order(nodes)'
    ]


def test_health_checks_follow(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told of every change, when everything else is in place."""
    told: list[list[str]] = []
    monkeypatch.setattr(HealthService, "refresh", lambda service: told.append(list(running.proxy.upstreams)))
    running.write(upstreams=[{"name": "b", "address": "localhost:2"}])
    running.reload()
    running.reload()
    running.write()
    running.reload()
    assert told == [["b"], ["a"]]


@pytest.mark.parametrize("builder", ["session_settings", "build_upstreams"])
def test_what_cannot_be_built_changes_nothing(
    running: Running, events: Events, monkeypatch: pytest.MonkeyPatch, builder: str
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr(proxy_module, builder, broken)
    before = running.proxy.config, running.proxy.settings, running.proxy.upstreams
    running.write(heartbeat=7)
    with pytest.raises(RuntimeError):
        running.reload()
    assert before == (running.proxy.config, running.proxy.settings, running.proxy.upstreams)
    assert events.fields(LogId.CONFIG_REFUSED)[0]["text"] == "RuntimeError: oops"


def test_warnings_are_logged(running: Running, events: Events) -> None:
    warned = Loaded(loaded(heartbeat=7).config, (Problem("upstreams[0]", "odd"),), "here")
    running.proxy.apply(warned)
    running.proxy.apply(warned)
    assert [fields["text"] for fields in events.fields(LogId.CONFIG_WARNING)] == ["upstreams[0]: odd"] * 2


def test_a_second_reload_meanwhile_joins(running: Running, events: Events) -> None:
    """One pace and one end for both; nobody is told twice."""
    graceful = {"burst_size": 2, "rate_limit": 2}
    first = running.factory.connect(4, running.hash)
    running.proxy.apply(loaded(heartbeat=7, graceful_shutdown=graceful))
    assert sum(bool(client.replies) for client in first) == 2
    second = running.factory.connect(2, running.hash)
    assert running.proxy.apply(loaded(heartbeat=8, graceful_shutdown=graceful)).outdated == 6
    third = running.factory.connect(1, running.hash)
    for _ in range(50):
        running.reactor.advance(0.1)
    assert [len(client.replies) for client in (*first, *second, *third)] == [1] * 6 + [0]
    for client in (*first, *second):
        client.leave()
    assert [fields["closed"] for fields in events.fields(LogId.RELOAD_FINISHED)] == [6]


def test_back_to_the_configuration_before(running: Running, events: Events) -> None:
    """Sessions that were not told yet are not outdated any more."""
    graceful = {"burst_size": 1, "rate_limit": 1}
    running.proxy.apply(loaded(graceful_shutdown=graceful))
    clients = running.factory.connect(3, running.hash)
    running.proxy.apply(loaded(graceful_shutdown=graceful, heartbeat=7))
    clients += running.factory.connect(1, running.hash)
    assert running.proxy.apply(loaded(graceful_shutdown=graceful)).outdated == 1
    for _ in range(100):
        running.reactor.advance(0.1)
    assert [len(client.replies) for client in clients] == [1, 0, 0, 1]
    clients[0].leave()
    clients[3].leave()
    assert [fields["closed"] for fields in events.fields(LogId.RELOAD_FINISHED)][-1] == 2


def test_a_shutdown_takes_over(running: Running, events: Events) -> None:
    """Whoever was not told yet hears of the shutdown; the reload has no end of its own."""
    clients = running.factory.connect(3, running.hash)
    running.proxy.apply(loaded(graceful_shutdown={"burst_size": 1, "rate_limit": 1}))
    running.proxy.stopService()
    for _ in range(30):
        running.reactor.advance(0.1)
    texts = [client.replies[0][1].rpartition(" - ")[2] for client in clients]
    assert texts == ["Configuration updated, please reconnect", *["Server shutting down"] * 2]
    for client in clients:
        client.leave()
    assert events.entries[-1] == LogId.STOPPED
    assert LogId.RELOAD_FINISHED not in events.entries


def test_not_while_stopping(running: Running) -> None:
    """A reload that is late to come changes nothing any more."""
    settings = running.proxy.settings
    running.factory.connect(1, running.hash)
    running.proxy.stopService()
    running.write(heartbeat=7)
    with pytest.raises(ReloadImpossible):
        running.reload()
    assert running.proxy.settings is settings


def test_without_a_file(events: Events) -> None:
    reactor = Reactor()
    proxy = ProxyService(loaded().config, reactor)
    proxy.assemble(Options(host="127.0.0.1", port=0), FakeFactory(reactor), {})
    with pytest.raises(ReloadImpossible):
        outcome(reactor, proxy.reload())
    assert events.entries == [LogId.RELOAD_IMPOSSIBLE]


def test_one_at_a_time() -> None:
    """What is asked for during a reload is one more, for everybody who asked."""
    reactor = Reactor()
    gate = threading.Semaphore(0)
    begun: list[int] = []

    def load() -> Loaded:
        begun.append(len(begun))
        assert gate.acquire(timeout=10)
        return loaded()

    reloads = Reloads(load, lambda _: Reloaded(f"{begun[-1]}", changed=True, outdated=0), "test", reactor)
    first = reloads.reload()
    later = [reloads.reload() for _ in range(3)]
    assert len(begun) <= 1
    gate.release()
    assert outcome(reactor, first).hash == "0"
    gate.release()
    assert [outcome(reactor, answer).hash for answer in later] == ["1"] * 3
    assert begun == [0, 1]
    last = reloads.reload()
    gate.release()
    assert outcome(reactor, last).hash == "2"


def test_a_file_that_cannot_be_read_in_time(events: Events) -> None:
    """It is refused, what comes later is not applied, and the next reload has its chance."""
    reactor = Reactor()
    gate = threading.Semaphore(0)
    applied: list[Loaded] = []

    def load() -> Loaded:
        assert gate.acquire(timeout=10)
        return loaded()

    def apply(found: Loaded) -> Reloaded:
        applied.append(found)
        return Reloaded("", changed=True, outdated=0)

    reloads = Reloads(load, apply, "slow.jsonnet", reactor)
    answer = reloads.reload()
    reactor.advance(LOAD_TIMEOUT)
    gate.release()
    with pytest.raises(ConfigError, match="could not be read within 60 s"):
        outcome(reactor, answer)
    assert applied == []
    assert LogId.CONFIG_REFUSED in events.entries
    gate.release()
    outcome(reactor, reloads.reload())
    assert len(applied) == 1


@pytest_twisted.ensureDeferred
async def test_in_a_thread_of_its_own() -> None:
    """Neither the reactor nor the end of the process has to wait for it."""
    thread = await in_thread(threading.current_thread, real_reactor)
    assert thread is not threading.current_thread()
    assert thread.daemon

    def fails() -> None:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        await in_thread(fails, real_reactor)
