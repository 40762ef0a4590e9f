"""The admin API as part of the process: what it gets to see, and where it stands in the tree.

Lives here: `AdminServices`, and `AdministeredProxy`, the proxy as the API sees it.  Must not know: HTTP.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TooLate
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from trabbits.admin.app import Api
from trabbits.admin.interface import Changed, NoFile, Stopping
from trabbits.admin.listening import PortApi, SocketApi
from trabbits.admin.log_ring import LogRing
from trabbits.config import Config, ConfigError, Loaded, Problem, parse_config
from trabbits.service.reloading import LOAD_TIMEOUT, Reloaded, ReloadImpossible, in_thread

if TYPE_CHECKING:
    from trabbits.service.proxy import ProxyService
    from trabbits.session.observation import MethodEvent
    from trabbits.upstream.upstream import Upstream

#: What log lines and errors call a configuration that came over the API.
SOURCE = "admin API"


class AdminServices:
    """The API's services for one proxy, and the log that it shows: from now until the proxy has stopped."""

    def __init__(self, proxy: ProxyService, socket_path: str, reactor: Any, *, debug: bool) -> None:
        self._ring = LogRing(debug=debug)
        api = Api(AdministeredProxy(proxy, reactor), self._ring, reactor)
        self._port = PortApi(api, lambda: proxy.config, reactor)
        self._services: list[SocketApi | PortApi] = [self._port]
        if socket_path:
            self._services.append(SocketApi(api, Path(socket_path), reactor))
        globalLogPublisher.addObserver(self._ring)

    def add_to(self, parent: MultiService) -> None:
        """Put them into the tree."""
        for service in self._services:
            parent.addService(service)

    def prepare(self, config: Config) -> Any:
        """Get what another configuration needs of the API; to be committed or discarded.  Raises ConfigError."""
        return self._port.prepare(config)

    def give_back(self) -> None:
        """The process could not start."""
        for service in self._services:
            service.give_back()
        self.forget()

    def forget(self) -> None:
        """The process has stopped: nobody looks at the log any more."""
        globalLogPublisher.removeObserver(self._ring)


class AdministeredProxy:
    """What `trabbits.admin.interface.Process` asks for."""

    def __init__(self, proxy: ProxyService, reactor: Any) -> None:
        self._proxy = proxy
        self._reactor = reactor

    @property
    def config(self) -> Config:
        return self._proxy.config

    @property
    def config_hash(self) -> str:
        return self._proxy.settings.config_hash

    @property
    def sessions(self) -> Mapping[str, Any]:
        sessions: Mapping[str, Any] = self._proxy.factory.sessions
        return sessions

    @property
    def upstreams(self) -> Mapping[str, Upstream]:
        return self._proxy.upstreams

    @property
    def departed_publishes(self) -> Mapping[str, int]:
        publishes: Mapping[str, int] = self._proxy.factory.totals.gone.publishes
        return publishes

    @property
    def departed_deliveries(self) -> Mapping[str, int]:
        deliveries: Mapping[str, int] = self._proxy.factory.totals.gone.deliveries
        return deliveries

    @property
    def listening(self) -> bool:
        return self._proxy.listening

    @property
    def stopping(self) -> bool:
        return not self._proxy.running

    def departed(self, session_id: str) -> Sequence[MethodEvent] | None:
        session = self._proxy.factory.departed.get(session_id)
        return None if session is None else session.events()

    def when_departed(self, session_id: str, tell: Callable[[], None]) -> Callable[[], None]:
        give_up: Callable[[], None] = self._proxy.factory.departed.when(session_id, tell)
        return give_up

    def parse(self, text: str, language: Literal["json", "jsonnet"]) -> Deferred[Loaded]:
        # A copy, because another thread may not look at the environment while this one changes it.
        environment = dict(os.environ)
        # Who may change the configuration need not be able to read every file of this machine.
        files = set(_secret_files(self.config))
        parsing = in_thread(
            lambda: parse_config(text, SOURCE, environment, language=language, imports=False, secret_files=files),
            self._reactor,
        )
        parsing.addTimeout(LOAD_TIMEOUT, self._reactor)
        return parsing.addErrback(_late)

    def apply(self, loaded: Loaded) -> Changed:
        try:
            return _changed(self._proxy.apply(loaded))
        except ReloadImpossible:
            raise Stopping from None

    def reload(self) -> Deferred[Changed]:
        return self._proxy.reload().addCallbacks(_changed, _no_reload)


def _secret_files(config: Config) -> Iterator[str]:
    for upstream in config.upstreams:
        for mapped in upstream.credentials.values():
            for file in (mapped.password_file, mapped.client_password_file):
                if file is not None:
                    yield file.path


def _late(failure: Failure) -> Failure:
    if failure.check(TooLate):
        raise ConfigError(SOURCE, [Problem("", f"could not be checked within {LOAD_TIMEOUT:g} s")])
    return failure


def _no_reload(failure: Failure) -> Changed:
    error: Any = failure.value
    if isinstance(error, ReloadImpossible):
        raise Stopping if error.stopping else NoFile
    raise error


def _changed(reloaded: Reloaded) -> Changed:
    return Changed(reloaded.hash, reloaded.changed, reloaded.outdated, reloaded.warnings)
