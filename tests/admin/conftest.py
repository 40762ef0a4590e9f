"""Proxies without a broker, and clients of their admin APIs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.admin.asking import CONFIG
from tests.proxy import ProxyFactory
from trabbits.api_client import ApiClient
from trabbits.testing.trabbits_process import TrabbitsProcess


@pytest.fixture
def proxy(trabbits: ProxyFactory) -> TrabbitsProcess:
    return trabbits(CONFIG, env={"HIDDEN": "treasure"})


@pytest.fixture
def api(proxy: TrabbitsProcess) -> ApiClient:
    return ApiClient(socket=str(proxy.api_socket), timeout=20)


@pytest.fixture(scope="module")
def calm() -> Iterator[TrabbitsProcess]:
    """One proxy for many small questions that leave nothing behind."""
    process = TrabbitsProcess(CONFIG)
    try:
        yield process.start()
    finally:
        process.close()


@pytest.fixture
def shared(calm: TrabbitsProcess) -> ApiClient:
    return ApiClient(socket=str(calm.api_socket), timeout=20)
