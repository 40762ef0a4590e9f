"""Reloads seen from inside: whatever happens meanwhile, no session stays with a configuration that is not current.

Covered: all live sessions of a proxy in this process, under load, while plain and fan configurations alternate and one
reload overtakes another.  Not covered: signals and real processes (``test_reload_under_load.py``).
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.contract.target import HOST, fan_config, plain_config
from tests.faults.embedded import State, living, reactor, sockets, until
from tests.operation.conftest import PATIENT
from tests.operation.load import Load
from tests.operation.pace import ahead
from trabbits.config import ConfigError
from trabbits.service import Options, ProxyService, make_service, read_config
from trabbits.service.signals import SignalsService
from trabbits.testing.rabbitmq import RabbitNode

CLIENTS = 60
PERIOD = 0.3
BURST, RATE = 15, 60
UPDATED = (320, "CONNECTION_FORCED - Configuration updated, please reconnect")
#: The fan configurations send some of these to upstream a and some to b.
QUEUES = ("load-0", "b.load-1", "load-2", "b.load-3")


class Proxy:
    """trabbits in this process, with its configuration in a file, and a load of clients."""

    def __init__(self, path: Path, nodes: tuple[RabbitNode, RabbitNode]) -> None:
        self._path = path
        self._nodes = nodes
        self.write(0)
        options = Options(config=str(path), host=HOST, port=0)
        self.service: ProxyService = make_service(options, read_config(options), reactor, {})
        for child in list(self.service):
            if isinstance(child, SignalsService):
                self.service.removeService(child)  # this process has its own
        self.service.privilegedStartService()
        self.service.startService()

    @property
    def port(self) -> int:
        return int(self.service.getServiceNamed("listener").port)

    @property
    def sessions(self) -> dict[str, Any]:
        """What each live session is."""
        return {name: runner.session for name, runner in self.service.factory.sessions.items()}

    def write(self, number: int, **options: Any) -> None:
        """A configuration that no other number has: fan if it is even, plain otherwise."""
        pace = {"burst_size": BURST, "rate_limit": RATE}
        options = {"channel_max": 1000 + number, "graceful_shutdown": pace, **PATIENT, **options}
        node_a, node_b = self._nodes
        config = plain_config(node_a, **options) if number % 2 else fan_config(node_a, node_b, **options)
        self._path.write_text(json.dumps(config))

    async def change_to(self, number: int) -> None:
        """Returns when new sessions get it; the others are on their way."""
        self.write(number)
        assert (await self.service.reload()).changed

    async def everybody_has(self, load: Load, number: int) -> None:
        """Nobody is on the way any more, and each session is what configuration `number` says."""
        offers = {1000 + number - 1: CLIENTS}
        await until(lambda: not self.service.factory.draining and load.offers == offers, 15, lambda: load.offers)
        sessions = self.sessions.values()
        assert len(sessions) == CLIENTS
        assert {session.settings.config_hash for session in sessions} == {self.service.settings.config_hash}
        assert {len(session.links) for session in sessions} == {1 if number % 2 else 2}
        rounds = load.rounds + 1
        await until(lambda: load.rounds >= rounds, 15, lambda: "another message confirmed to everybody")


@pytest_twisted.async_yield_fixture
async def proxy(tmp_path: Path, rabbit_pair: tuple[RabbitNode, RabbitNode]) -> AsyncIterator[Proxy]:
    proxy = Proxy(tmp_path / "config.json", rabbit_pair)
    yield proxy
    await proxy.service.stopService()


@pytest_twisted.async_yield_fixture
async def load(proxy: Proxy, vhost: str) -> AsyncIterator[Load]:
    load = Load(proxy.port, vhost, CLIENTS, PERIOD, QUEUES)
    await deferToThread(load.__enter__)
    await until(lambda: load.working == CLIENTS, 20, lambda: load.working)
    yield load
    await deferToThread(load.__exit__)
    await until(lambda: not proxy.sessions, 10, lambda: proxy.sessions)


@pytest_twisted.ensureDeferred
async def test_reload_after_reload(proxy: Proxy, load: Load) -> None:
    """From several upstreams to one and back: everybody follows, and what waits at the second is there afterwards."""
    for number in (1, 2, 3, 4):
        await proxy.change_to(number)
        await proxy.everybody_has(load, number)
    assert len(load.ledger.departures) == 4 * CLIENTS
    ledger = await deferToThread(load.finish)
    ledger.check([UPDATED])


@pytest_twisted.ensureDeferred
async def test_reload_during_reload(proxy: Proxy, load: Load) -> None:
    """Both are one stream of departures at one pace; sessions of the first and of the one before it all go."""
    began = time.monotonic()
    await proxy.change_to(1)
    await until(lambda: len(load.ledger.departures) > CLIENTS // 2, 10, lambda: load.ledger.departures)
    await proxy.change_to(2)
    await proxy.everybody_has(load, 2)
    times = load.ledger.times_since(began)
    assert CLIENTS < len(times) <= 2 * CLIENTS
    assert ahead(times, began, BURST, RATE) <= 0
    (await deferToThread(load.finish)).check([UPDATED])


@pytest_twisted.ensureDeferred
async def test_a_reload_is_taken_back(proxy: Proxy, load: Load) -> None:
    """Who was not asked yet may stay: the configuration that it began with is current again."""
    before = set(proxy.sessions)
    await proxy.change_to(1)
    await until(lambda: len(load.ledger.departures) > BURST, 10, lambda: load.ledger.departures)
    await proxy.change_to(0)
    await proxy.everybody_has(load, 0)
    stayed = before & set(proxy.sessions)
    assert 0 < len(stayed) < CLIENTS - BURST
    (await deferToThread(load.finish)).check([UPDATED])


@pytest_twisted.ensureDeferred
async def test_invalid_and_unchanged(proxy: Proxy, load: Load) -> None:
    """Neither ends a session, or changes what new ones get."""
    before, settings, upstreams = proxy.sessions, proxy.service.settings, proxy.service.upstreams
    proxy.write(1, handshake_timeout="never")
    with pytest.raises(ConfigError, match="handshake_timeout"):
        await proxy.service.reload()
    proxy.write(0, connection_close_timeout="5000ms")  # the same in other words
    assert not (await proxy.service.reload()).changed
    await proxy.everybody_has(load, 0)
    assert proxy.sessions == before
    assert proxy.service.settings is settings
    assert proxy.service.upstreams is upstreams
    (await deferToThread(load.finish)).check([])


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_behind(proxy: Proxy, vhost: str) -> None:
    """After reloads under load there are no more sockets, timers and sessions than before."""
    before = State.now()
    with_load = Load(proxy.port, vhost, CLIENTS, PERIOD, QUEUES)
    await deferToThread(with_load.__enter__)
    for number in (1, 2):
        await proxy.change_to(number)
        await proxy.everybody_has(with_load, number)
    await deferToThread(with_load.finish)
    await deferToThread(with_load.__exit__)
    await until(lambda: not proxy.sessions, 10, lambda: proxy.sessions)
    await until(lambda: sockets() == before.sockets, 10, lambda: sockets() - before.sockets)
    await until(lambda: len(reactor.getDelayedCalls()) <= before.timers, 5, reactor.getDelayedCalls)
    assert living() == before.objects
