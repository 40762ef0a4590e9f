"""Fixtures of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import globalLogPublisher

from tests.service.doubles import Events


@pytest.fixture
def events() -> Iterator[Events]:
    """Everything that is logged during the test."""
    caught = Events()
    globalLogPublisher.addObserver(caught)
    yield caught
    globalLogPublisher.removeObserver(caught)
