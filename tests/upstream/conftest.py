"""No test of links may leave an error that nobody handled."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer


@pytest.fixture(scope="session")
def small_heap() -> Iterator[None]:
    """Collecting garbage looks only at what is made from now on: fast enough for every test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def unhandled_errors(small_heap: None) -> Iterator[list[LogEvent]]:
    """What was logged as critical; a test that expects some takes it out again."""
    errors: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.critical:
            errors.append(event)

    globalLogPublisher.addObserver(observe)
    yield errors
    # "Unhandled error in Deferred" is logged when the Deferred is collected.
    gc.collect()
    globalLogPublisher.removeObserver(observe)
    assert [event.get("log_failure") for event in errors] == []
