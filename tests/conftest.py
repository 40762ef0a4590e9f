"""Fixtures for all tests: real RabbitMQ nodes (tests/rabbitmq.py) and trabbits as a process (tests/proxy.py).

Tests that use one of them get the mark `broker`: `pytest -m "not broker"` runs the unit tests alone, in seconds.
Those that use a cluster get the mark `cluster` as well.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import greenlet
import pytest
import pytest_twisted
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.rabbitmq", "tests.proxy"]

# `target` asks for its nodes only when it runs, so they do not show in a test's list of fixtures.
BROKER_FIXTURES = {"rabbit_pair", "rabbit_node", "spare_node", "rabbit_cluster", "trabbits", "target"}

#: The files whose tests freeze and kill the spare node; one process runs them all, and starts it once.
WITH_SPARE_NODE = {
    "tests/faults/test_links.py",
    "tests/faults/test_slow_readers.py",
    "tests/faults/test_stopping.py",
    "tests/upstream/test_links_to_rabbitmq.py",
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known that are set here."""
    config.addinivalue_line("markers", "cluster: needs a cluster of RabbitMQ nodes (set by itself)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real RabbitMQ."""
    for item in items:
        if BROKER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)
        if "rabbit_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
        if "spare_node" in getattr(item, "fixturenames", ()) and scope_of(item.nodeid) != "spare node":
            raise pytest.UsageError(f"{item.nodeid} uses the spare node: its file belongs into WITH_SPARE_NODE")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Share the tests out file by file, but those with a cluster, or the spare node, to one: each would start it."""
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = scope_of  # a method, which gets nothing but the id
    return scheduling


def scope_of(nodeid: str) -> str:
    """What tests have to have in common to be run by one process."""
    path = nodeid.partition("::")[0]
    if path in WITH_SPARE_NODE:
        return "spare node"
    return path.rpartition("/")[0] if path.startswith("tests/cluster/") else path


def pytest_collection_finish() -> None:
    """Leave modules and test items out of every garbage collection from now on.

    Tests that look for what is left behind collect garbage again and again, and nothing of this ever is.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item) -> Iterator[None]:
    """Let pytest-timeout end tests that wait for a Deferred, too.

    Its signal handler raises in whatever runs. While a test waits for a Deferred that is the reactor, in a greenlet of
    its own, which would log the exception and go on for ever. So the exception is thrown into the waiting greenlet.
    """
    result = yield
    raise_timeout = signal.getsignal(signal.SIGALRM)
    if not callable(raise_timeout):
        return result

    def end_the_test(number: int, frame: FrameType | None) -> None:
        try:
            raise_timeout(number, frame)
        except BaseException as timed_out:
            waiting = greenlet.getcurrent().parent
            if waiting is None or runs_test_code(frame):
                raise
            waiting.throw(timed_out)  # comes back here when the next test lets the reactor run

    signal.signal(signal.SIGALRM, end_the_test)
    return result


def runs_test_code(frame: FrameType | None) -> bool:
    """Whether the interrupted code was called by a test, and not by the reactor while a test waits."""
    while frame is not None:
        if frame.f_code is pytest_twisted._async_pytest_pyfunc_call.__code__:
            return True
        frame = frame.f_back
    return False
