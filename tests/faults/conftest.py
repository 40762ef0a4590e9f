"""What tests of faults share: a virtual host of their own, proxies with short timeouts, and bystanders.

A *bystander* is a client that works all the time, next to the one that misbehaves: nothing may disturb it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.target import HOST, fan_config, plain_config
from tests.faults.bystander import Bystander
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.trabbits_process import TrabbitsProcess

#: Seconds for one test; every wait in it is shorter.
TEST_TIMEOUT = 60

#: Short where a test has to wait for the end of it, long enough for a busy machine.
TIMEOUTS: dict[str, Any] = {"handshake_timeout": "1500ms", "connection_close_timeout": "300ms"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test of this folder a time limit."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT, method="signal"))


@pytest.fixture(scope="session")
def faults_vhost(rabbit_pair: tuple[RabbitNode, RabbitNode]) -> Iterator[str]:
    """A virtual host on both shared nodes."""
    name = f"faults-{secrets.token_hex(4)}"
    for node in rabbit_pair:
        assert node.management is not None
        node.management.add_vhost(name)
    yield name
    for node in rabbit_pair:
        assert node.management is not None
        node.management.delete_vhost(name)


def running(proxy: TrabbitsProcess) -> Iterator[TrabbitsProcess]:
    """The proxy while it is needed: it must leave when told and not before, and meet nothing it did not foresee."""
    try:
        yield proxy.start()
        if not proxy.find_logs(event="stopping"):
            assert proxy.status is None, proxy.log_text
            proxy.terminate()
        assert proxy.status == 0, proxy.log_text
        assert not surprises(proxy)
    finally:
        proxy.close()


def surprises(proxy: TrabbitsProcess) -> list[dict[str, Any]]:
    """Log lines that only a bug in trabbits can cause; of a policy that fails there is a traceback to read."""
    lines = [entry for entry in proxy.logs if entry.get("event") != "policy_failed"]
    return [entry for entry in lines if entry.get("event") == "internal_error" or "Traceback" in str(entry)]


@pytest.fixture(scope="session")
def plain_proxy(rabbit_a: RabbitNode) -> Iterator[TrabbitsProcess]:
    """trabbits in front of node A."""
    yield from running(TrabbitsProcess(plain_config(rabbit_a, **TIMEOUTS), ["--debug"]))


@pytest.fixture(scope="session")
def fan_proxy(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """trabbits in front of both nodes."""
    yield from running(TrabbitsProcess(fan_config(rabbit_a, rabbit_b, **TIMEOUTS), ["--debug"]))


@pytest.fixture(scope="module", params=["plain", "fan"])
def proxy(request: pytest.FixtureRequest) -> Iterator[TrabbitsProcess]:
    """Both proxies, one after the other."""
    proxy: TrabbitsProcess = request.getfixturevalue(f"{request.param}_proxy")
    seen = len(proxy.logs)
    yield proxy
    lines = "\n".join(str(entry.get("message", entry)) for entry in proxy.logs[seen:])
    print(f"--- trabbits ({request.param}) logged ---\n{lines}")


@pytest.fixture(scope="module")
def bystander(proxy: TrabbitsProcess, faults_vhost: str) -> Iterator[Bystander]:
    """A client of `proxy` that works while others misbehave."""
    bystander = Bystander(HOST, proxy.port, faults_vhost)
    bystander.start()
    yield bystander
    bystander.stop()


@pytest.fixture
def spare_node(spare_node: RabbitNode, faults_vhost: str) -> RabbitNode:
    """A running node to be frozen or killed, with the virtual host of these tests."""
    assert spare_node.management is not None
    spare_node.management.add_vhost(faults_vhost)
    return spare_node
