"""What tests with a cluster share: three nodes, all of them alive when a test begins, and proxies in front of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.faults.conftest import surprises
from trabbits.testing.cluster import RabbitCluster
from trabbits.testing.trabbits_process import TrabbitsProcess

#: Seconds for one test, the start of nodes included; every wait in it is shorter.
TEST_TIMEOUT = 100


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test with a cluster a time limit."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT, method="signal"))


@pytest.fixture(scope="package")
def rabbit_cluster() -> Iterator[RabbitCluster]:
    """Three nodes, for the tests of this folder only: they end before other tests need the machine."""
    with RabbitCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(rabbit_cluster: RabbitCluster) -> Iterator[RabbitCluster]:
    """The cluster with all its nodes alive.  A test may do to them what it wants; no client of its is left behind."""
    rabbit_cluster.heal()
    yield rabbit_cluster
    for node in rabbit_cluster.nodes:
        node.resume()


class ClusterProxyFactory(Protocol):
    """What the fixture `cluster_proxy` gives."""

    def __call__(self, *upstreams: dict[str, Any], **options: Any) -> TrabbitsProcess: ...


@pytest.fixture
def cluster_proxy(cluster: RabbitCluster) -> Iterator[ClusterProxyFactory]:
    """Start a proxy with these upstreams; afterwards it must leave when told, having met nothing unforeseen."""
    proxies: list[TrabbitsProcess] = []

    def make(*upstreams: dict[str, Any], **options: Any) -> TrabbitsProcess:
        hurry = {"shutdown_timeout": "1s", "rate_limit": 1000, "burst_size": 1000}
        config = {"connection_close_timeout": "300ms", "graceful_shutdown": hurry, **options}
        proxy = TrabbitsProcess({"upstreams": list(upstreams), **config}, ["--debug"])
        proxies.append(proxy)
        return proxy.start()

    try:
        yield make
        for proxy in proxies:
            assert proxy.terminate() == 0, proxy.log_text
            assert not surprises(proxy)
    finally:
        for proxy in proxies:
            proxy.close()
            lines = "\n".join(f"{entry.get('time', '')} {entry.get('message', entry)}" for entry in proxy.logs)
            print(f"--- trabbits logged ---\n{lines}")
