"""The target fixture: the same test body against a broker, a plain session and a fan session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.target import Target, Witness, fan_config, plain_config
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.trabbits_process import TrabbitsProcess

#: Seconds for one test: every wait in it is shorter, so this ends only a client library that waits without a bound.
TEST_TIMEOUT = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test of this folder a time limit."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT, method="signal"))


@pytest.fixture(scope="session")
def witness_a(rabbit_a: RabbitNode) -> Iterator[Witness]:
    """Looks at node A from behind."""
    witness = Witness(rabbit_a)
    yield witness
    witness.close()


@pytest.fixture(scope="session")
def witness_b(rabbit_b: RabbitNode) -> Iterator[Witness]:
    """Looks at node B from behind."""
    witness = Witness(rabbit_b)
    yield witness
    witness.close()


@pytest.fixture(scope="session")
def plain_proxy(rabbit_a: RabbitNode) -> Iterator[TrabbitsProcess]:
    """trabbits in front of node A."""
    yield from running(TrabbitsProcess(plain_config(rabbit_a)))


@pytest.fixture(scope="session")
def fan_proxy(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """trabbits in front of node A (upstream a, the first) and node B (upstream b)."""
    yield from running(TrabbitsProcess(fan_config(rabbit_a, rabbit_b)))


def running(proxy: TrabbitsProcess) -> Iterator[TrabbitsProcess]:
    """The proxy while the tests need it; it must still be there at the end and leave without an error."""
    try:
        yield proxy.start()
        assert proxy.terminate() == 0, proxy.log_text
        tracebacks = [str(entry) for entry in proxy.logs if "Traceback" in str(entry)]
        assert not tracebacks, "\n\n".join(tracebacks[:3])
    finally:
        proxy.close()


@pytest.fixture(params=["direct", "plain", "fan"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The address under test, and what lies behind it."""
    nodes: dict[str, RabbitNode] = {"a": request.getfixturevalue("rabbit_a")}
    witnesses: dict[str, Witness] = {"a": request.getfixturevalue("witness_a")}
    if request.param == "fan":
        nodes["b"] = request.getfixturevalue("rabbit_b")
        witnesses["b"] = request.getfixturevalue("witness_b")
    proxy: Any = None if request.param == "direct" else request.getfixturevalue(f"{request.param}_proxy")
    seen = len(proxy.logs) if proxy else 0
    target = Target(request.param, proxy or nodes["a"], nodes, witnesses)
    yield target
    target.close_all()
    if proxy:
        print(f"--- trabbits ({request.param}) logged ---")
        print("\n".join(str(entry) for entry in proxy.logs[seen:]))
