"""A whole proxy with its admin API in the process of the test, on the real reactor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.contract.target import HOST
from tests.faults.embedded import reactor
from trabbits.config import Config, Loaded
from trabbits.frontend.listener import ClientFactory
from trabbits.service import Options, ProxyService


class Proxy:
    """trabbits without signals, pid file and metrics; `socket` is the API's."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.socket = folder / "api.sock"
        loaded = Loaded(Config.model_validate(config), (), "(test)")
        service = self.service = ProxyService(loaded.config, reactor)
        factory = ClientFactory(lambda: service.settings, lambda: service.upstreams, reactor)
        options = Options(host=HOST, port=0, metrics_port=None, api_socket=str(self.socket))
        service.assemble(options, factory, {})
        service.privilegedStartService()
        service.startService()

    @property
    def port(self) -> int:
        return int(self.service.getServiceNamed("listener").port)

    async def stop(self) -> None:
        await self.service.stopService()
