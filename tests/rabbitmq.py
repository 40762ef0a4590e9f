"""Fixtures with real RabbitMQ nodes.

`rabbit_a` and `rabbit_b` are started together at first use and live as long as the test run; a test keeps to itself by
its own virtual host (`vhost`). A test that freezes or kills a node takes the spare one (`spare_node`), one that
configures it, or wants it new, has one of its own (`rabbit_node`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import pytest

from trabbits.testing.rabbitmq import RabbitNode, start_all


class NodeFactory(Protocol):
    """What the fixture `rabbit_node` gives."""

    def __call__(
        self,
        name: str = ...,
        config: Mapping[str, object] | None = ...,
        plugins: Sequence[str] = ...,
        start: bool = ...,
    ) -> RabbitNode: ...


@pytest.fixture(scope="session")
def rabbit_pair() -> Iterator[tuple[RabbitNode, RabbitNode]]:
    """Two standalone nodes, started at the same time."""
    pair = (RabbitNode("a"), RabbitNode("b"))
    try:
        start_all(pair)
        yield pair
    finally:
        for node in pair:
            node.close()


@pytest.fixture(scope="session")
def rabbit_a(rabbit_pair: tuple[RabbitNode, RabbitNode]) -> RabbitNode:
    """The first shared node."""
    return rabbit_pair[0]


@pytest.fixture(scope="session")
def rabbit_b(rabbit_pair: tuple[RabbitNode, RabbitNode]) -> RabbitNode:
    """The second shared node, not clustered with the first."""
    return rabbit_pair[1]


@pytest.fixture(scope="session")
def spare_node_process() -> Iterator[RabbitNode]:
    """A node that tests may freeze and kill; see `spare_node`."""
    with RabbitNode("spare") as node:
        yield node


@pytest.fixture
def spare_node(spare_node_process: RabbitNode) -> Iterator[RabbitNode]:
    """A running node to be frozen or killed, for one test at a time."""
    yield spare_node_process.start()
    spare_node_process.resume()


@pytest.fixture
def rabbit_node() -> Iterator[NodeFactory]:
    """Start nodes for one test only: `rabbit_node("small", config={"frame_max": 4096})`; ended after the test."""
    nodes: list[RabbitNode] = []

    def make(
        name: str = "own",
        config: Mapping[str, object] | None = None,
        plugins: Sequence[str] = ("rabbitmq_management",),
        start: bool = True,
    ) -> RabbitNode:
        node = RabbitNode(name, config, plugins)
        nodes.append(node)
        return node.start() if start else node

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def vhost(rabbit_pair: tuple[RabbitNode, RabbitNode]) -> Iterator[str]:
    """The name of a fresh virtual host on both shared nodes, where `guest` may do everything."""
    name = f"test-{secrets.token_hex(4)}"
    for node in rabbit_pair:
        assert node.management is not None
        node.management.add_vhost(name)
    yield name
    for node in rabbit_pair:
        assert node.management is not None
        node.management.delete_vhost(name)
