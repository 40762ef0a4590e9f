"""The fixture `trabbits`: proxies for one test, each a process of its own.

Example::

    def test_something(trabbits, rabbit_a, vhost):
        proxy = trabbits({"upstreams": [{"name": "a", "address": rabbit_a.address}]})
        pika.BlockingConnection(pika.URLParameters(proxy.url(vhost)))
        proxy.wait_for_log(event="...")
        assert proxy.terminate() == 0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from trabbits.testing.trabbits_process import Config, TrabbitsProcess

#: The checkout, for tests that start something in it.
ROOT = Path(__file__).resolve().parent.parent


class ProxyFactory(Protocol):
    """What the fixture `trabbits` gives."""

    def __call__(
        self,
        config: Config | None = ...,
        args: Sequence[str] = ...,
        env: Mapping[str, str] | None = ...,
        start: bool = ...,
    ) -> TrabbitsProcess: ...


@pytest.fixture
def trabbits() -> Iterator[ProxyFactory]:
    """Start proxies for one test; they end after it and their logs are shown when the test fails."""
    proxies: list[TrabbitsProcess] = []

    def make(
        config: Config | None = None, args: Sequence[str] = (), env: Mapping[str, str] | None = None, start: bool = True
    ) -> TrabbitsProcess:
        proxy = TrabbitsProcess(config, args, env)
        proxies.append(proxy)
        return proxy.start() if start else proxy

    yield make
    for proxy in proxies:
        proxy.close()
        print(f"--- log of trabbits on port {proxy.port} ---\n{proxy.log_text}")
