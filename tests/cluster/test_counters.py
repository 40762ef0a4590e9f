"""What is counted of each node, and its state, as metrics will read them: the upstream lives in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest_twisted

from tests.cluster.crowd import health_check, upstream
from tests.faults.embedded import reactor, until
from tests.upstream.scripted import LOGIN, VIRTUAL_HOST
from trabbits.assembly import build_upstreams, health_policies
from trabbits.config.model import Config
from trabbits.testing.cluster import RabbitCluster
from trabbits.upstream.health import HealthWatch
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.status import NodeTable


class Watched:
    """The cluster as an upstream of this process, with health checks."""

    def __init__(self, cluster: RabbitCluster) -> None:
        check = health_check(interval="300ms", timeout="1s", unhealthy_threshold=2, recovery_interval="500ms")
        config = Config.model_validate({"upstreams": [upstream(cluster, health_check=check)]})
        self.table = NodeTable(reactor)
        self.main = build_upstreams(config, self.table, reactor)["main"]
        self.watch = HealthWatch(self.table, reactor)
        self.watch.apply(health_policies(config))
        self.links: list[LinkProtocol] = []

    async def open_links(self, number: int) -> list[int]:
        """More links, through both steps of the handshake; how many each node has then."""
        for _ in range(number):
            link = await self.main.open_link(LOGIN)
            self.links.append(await self.main.open_virtual_host(link, VIRTUAL_HOST))
        return [status.links for status in self.table]

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, 10, lambda: list(self.table))

    async def stop(self) -> None:
        """Nothing is left of links and checks."""
        for link in self.links:
            link.abort()
        await self.watch.stop()
        await self.until(lambda: not any(status.links for status in self.table))


@pytest_twisted.async_yield_fixture
async def watched(cluster: RabbitCluster) -> AsyncIterator[Watched]:
    watched = Watched(cluster)
    yield watched
    await watched.stop()


@pytest_twisted.ensureDeferred
async def test_a_node_is_frozen_and_goes_on(cluster: RabbitCluster, watched: Watched) -> None:
    """One isolation, one recovery, and links where the numbers say."""
    frozen, *others = watched.table
    await watched.until(lambda: all(status.checks for status in watched.table))
    assert all(status.healthy and not status.failures for status in watched.table)
    assert await watched.open_links(9) == [3, 3, 3]
    assert [status.connection_attempts for status in watched.table] == [3, 3, 3]

    cluster.nodes[0].pause()
    await watched.until(lambda: not frozen.healthy)
    assert (frozen.isolations, frozen.recoveries, frozen.failures, frozen.failed_checks) == (1, 0, 2, 2)
    assert str(frozen.node) in frozen.last_error
    assert frozen.last_change is not None
    isolated_at = frozen.last_change
    assert await watched.open_links(4) == [3, 5, 5]

    cluster.nodes[0].resume()
    await watched.until(lambda: frozen.healthy)
    assert (frozen.isolations, frozen.recoveries, frozen.failures) == (1, 1, 0)
    assert frozen.checks > frozen.failed_checks
    assert frozen.last_change > isolated_at
    assert await watched.open_links(2) == [5, 5, 5]

    for status in others:
        assert (status.isolations, status.recoveries, status.failed_checks, status.last_error) == (0, 0, 0, "")
    assert all(status.connection_errors == status.passive_signs == 0 for status in watched.table)
