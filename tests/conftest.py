"""Fixtures for all tests: real RabbitMQ nodes (tests/rabbitmq.py) and trabbits as a process (tests/proxy.py).

Tests that use one of them get the mark `broker`: `pytest -m "not broker"` runs the unit tests alone, in seconds.
"""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.rabbitmq", "tests.proxy"]

# `target` asks for its nodes only when it runs, so they do not show in a test's list of fixtures.
BROKER_FIXTURES = {"rabbit_pair", "rabbit_node", "trabbits", "target"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real RabbitMQ."""
    for item in items:
        if BROKER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)
