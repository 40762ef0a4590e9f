"""Fixtures for pytest: embedded brokers, and trabbits in front of them.  pytest finds them where trabbits is installed.

Lives here: the fixtures `embedded_broker`, `embedded_brokers`, `trabbits_proxy`.  Must not know: Twisted, until a
test asks for one: this module is imported by every run of pytest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from trabbits.testing.running import Address, RunningBroker
    from trabbits.testing.trabbits_process import TrabbitsProcess


class BrokerMaker(Protocol):
    """What the fixture `embedded_brokers` gives."""

    def __call__(self, name: str = ..., **options: Any) -> RunningBroker: ...


class ProxyMaker(Protocol):
    """What the fixture `trabbits_proxy` gives."""

    def __call__(
        self,
        config: Mapping[str, Any] | None = ...,
        *,
        upstreams: Mapping[str, Address | str] | None = ...,
        args: Sequence[str] = ...,
        env: Mapping[str, str] | None = ...,
    ) -> TrabbitsProcess: ...


@pytest.fixture
def embedded_brokers() -> Iterator[BrokerMaker]:
    """Start embedded brokers: ``embedded_brokers("old", vhosts=("/", "/test"))``; they end with the test."""
    from trabbits.testing.running import running_broker

    with ExitStack() as stack:

        def make(name: str = "embedded", **options: Any) -> RunningBroker:
            return stack.enter_context(running_broker(name, **options))

        yield make


@pytest.fixture
def embedded_broker(embedded_brokers: BrokerMaker) -> RunningBroker:
    """An embedded broker, which ends with the test."""
    return embedded_brokers()


@pytest.fixture
def trabbits_proxy() -> Iterator[ProxyMaker]:
    """Start trabbits as a process: ``trabbits_proxy(upstreams={"old": broker_a, "new": broker_b})``.

    They end with the test, and their logs are shown if it fails.
    """
    from trabbits.testing.running import running_trabbits

    proxies: list[TrabbitsProcess] = []
    with ExitStack() as stack:

        def make(
            config: Mapping[str, Any] | None = None,
            *,
            upstreams: Mapping[str, Address | str] | None = None,
            args: Sequence[str] = (),
            env: Mapping[str, str] | None = None,
        ) -> TrabbitsProcess:
            running = running_trabbits(config, upstreams=upstreams, args=args, env=env)
            proxies.append(stack.enter_context(running))
            return proxies[-1]

        yield make
    for proxy in proxies:
        print(f"--- log of trabbits on port {proxy.port} ---\n{proxy.log_text}")
