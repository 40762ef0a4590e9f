"""What tests of running operation share: a virtual host, a time limit, and a look at what proxies logged."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trabbits.testing.rabbitmq import RabbitNode

#: Seconds for one test; every wait in it is shorter.
TEST_TIMEOUT = 120

#: Timeouts that a client meets only if it is stuck, even on a busy machine.
PATIENT: dict[str, Any] = {"handshake_timeout": "20s", "connection_close_timeout": "5s"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test of this folder a time limit."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT, method="signal"))


@pytest.fixture
def operation_vhost(rabbit_a: RabbitNode) -> Iterator[str]:
    """A fresh virtual host on node A alone."""
    name = f"operation-{secrets.token_hex(4)}"
    assert rabbit_a.management is not None
    rabbit_a.management.add_vhost(name)
    yield name
    rabbit_a.management.delete_vhost(name)
