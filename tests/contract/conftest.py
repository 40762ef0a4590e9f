"""The target fixture: the same test body against both brokers, a plain session and fan sessions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.embedded import NOT_APPLICABLE, EmbeddedNode
from tests.contract.target import Node, Target, Witness, fan_config, plain_config
from tests.proxy import TrabbitsProcess
from trabbits.testing.rabbitmq import RabbitNode

#: Seconds for one test: every wait in it is shorter, so this ends only a client library that waits without a bound.
TEST_TIMEOUT = 60


#: What the embedded broker must be able to do as an upstream; all else of a fan session is proven with RabbitMQ.
EMBEDDED_FAN = {"test_aio_pika", "test_confirms", "test_consume", "test_get", "test_reply_to", "test_tx"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs each test that does not choose its target itself against all of them."""
    chosen = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "target" in metafunc.fixturenames and "target" not in chosen:
        targets = ["direct", "embedded", "plain", "fan"]
        if metafunc.module.__name__.rpartition(".")[2] in EMBEDDED_FAN:
            targets.append("embedded-fan")
        metafunc.parametrize("target", targets, indirect=True)


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


@pytest.fixture(scope="session")
def embedded_pair() -> Iterator[tuple[EmbeddedNode, EmbeddedNode]]:
    """Two embedded brokers, in this process."""
    pair = (EmbeddedNode("a").start(), EmbeddedNode("b").start())
    yield pair
    for node in pair:
        node.close()


@pytest.fixture(scope="session")
def embedded_witnesses(embedded_pair: tuple[EmbeddedNode, EmbeddedNode]) -> Iterator[dict[str, Witness]]:
    """Look at the embedded brokers from behind."""
    witnesses = {node.name: Witness(node) for node in embedded_pair}
    yield witnesses
    for witness in witnesses.values():
        witness.close()


@pytest.fixture(scope="session")
def embedded_fan_proxy(embedded_pair: tuple[EmbeddedNode, EmbeddedNode]) -> Iterator[TrabbitsProcess]:
    """trabbits in front of the embedded brokers."""
    yield from running(TrabbitsProcess(fan_config(*embedded_pair)))


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The address under test, and what lies behind it."""
    proxy: Any = None
    nodes: dict[str, Node] = {}
    witnesses: dict[str, Witness] = {}
    if request.param.startswith("embedded"):
        reason = NOT_APPLICABLE.get(request.node.originalname)
        if reason is not None:
            pytest.skip(f"not applicable to the embedded broker: {reason}")
        pair = request.getfixturevalue("embedded_pair")
        for node in pair if request.param == "embedded-fan" else pair[:1]:
            nodes[node.name] = node
            witnesses[node.name] = request.getfixturevalue("embedded_witnesses")[node.name]
    else:
        for upstream in "ab" if request.param == "fan" else "a":
            nodes[upstream] = request.getfixturevalue(f"rabbit_{upstream}")
            witnesses[upstream] = request.getfixturevalue(f"witness_{upstream}")
    if request.param not in ("direct", "embedded"):
        proxy = request.getfixturevalue(f"{request.param.replace('-', '_')}_proxy")
    seen = len(proxy.logs) if proxy else 0
    target = Target(request.param, proxy or nodes["a"], nodes, witnesses)
    yield target
    target.close_all()
    if proxy:
        print(f"--- trabbits ({request.param}) logged ---")
        print("\n".join(str(entry) for entry in proxy.logs[seen:]))


@pytest.fixture
def vhost(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a fresh virtual host on the nodes of the target, or on the shared ones, for `guest`."""
    nodes: list[Node] = (
        list(request.getfixturevalue("target").nodes.values())
        if "target" in request.fixturenames
        else list(request.getfixturevalue("rabbit_pair"))
    )
    name = f"test-{secrets.token_hex(4)}"
    for node in nodes:
        assert node.management is not None
        node.management.add_vhost(name)
    yield name
    for node in nodes:
        assert node.management is not None
        node.management.delete_vhost(name)
