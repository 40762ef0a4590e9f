"""Where the API listens: its UNIX socket, and the TCP port that the configuration may ask for.

Lives here: `SocketApi` and `PortApi`, services for the tree.  Must not know: which calls there are.
"""

# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False
# Twisted's services have no annotations.

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet import unix
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from trabbits.admin import tcp, unix_socket
from trabbits.admin.app import Api
from trabbits.admin.site import ApiFactory, make_site
from trabbits.config import Config, ConfigError, Problem
from trabbits.config.addresses import Address
from trabbits.config.model import AdminConfig
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.tls import Unusable, tls_factory, tls_options

#: Seconds that open connections have at the end, so that last answers arrive.
FAREWELL = 0.5
STEP = 0.02

_log = EventLog(Logger("trabbits.admin"))


class SocketApi(Service):
    """The API on a UNIX socket; everybody who may open that may do everything."""

    name = "admin socket"

    def __init__(self, api: Api, path: Path, reactor: Any) -> None:
        self._api = api
        # Absolute, because a daemon changes its directory.
        self._path = path.absolute()
        self._reactor = reactor
        self._factory = make_site(api.resource(), reactor)
        self._bound: unix_socket.Bound | None = None
        self._port: Any = None

    def privilegedStartService(self) -> None:
        """Bind the socket.  Raises OSError when it cannot be had."""
        self._bound = unix_socket.bind(self._path)

    def startService(self) -> None:
        super().startService()
        if self._bound is None:
            self.privilegedStartService()
        assert self._bound is not None
        with self._bound.socket as listening:
            self._port = adopt_unix(listening, self._factory, self._reactor)
        self._reactor.callWhenRunning(lambda: _log(LogId.API_LISTENING, address=f"unix:{self._path}"))

    def give_back(self) -> None:
        """Remove what `privilegedStartService` made, when the process could not start."""
        bound, self._bound = self._bound, None
        if bound is not None:
            unix_socket.remove(bound)
            bound.socket.close()

    def stopService(self) -> Deferred[None]:
        """Fires when no connection is left."""
        super().stopService()
        self.give_back()
        port, self._port = self._port, None
        self._api.end_streams()
        return Deferred.fromCoroutine(_close(port, self._factory, self._reactor))


class PortApi(Service):
    """The API on the TCP port that the configuration names, if it does; a reload may change all of it."""

    name = "admin port"

    def __init__(self, api: Api, config: Callable[[], Config], reactor: Any) -> None:
        self._api = api
        self._config = config
        self._reactor = reactor
        self._no_token = token_hex()
        self._factory = make_site(api.resource(), reactor, self._token)
        self._prepared: _Prepared | None = None
        self._port: Any = None
        self._serves: AdminConfig | None = None

    @property
    def port(self) -> int | None:
        """The number of the port, while there is one."""
        return None if self._port is None else int(self._port.getHost().port)

    def privilegedStartService(self) -> None:
        """Bind the port, which may need privileges.  Raises OSError when it cannot be had."""
        if self._config().admin.listen is not None:
            self._prepared = self._prepare(self._config().admin)

    def startService(self) -> None:
        super().startService()
        if self._prepared is None:
            self.privilegedStartService()
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._reactor.callWhenRunning(self._serve, prepared)

    def prepare(self, config: Config) -> _Change:
        """Get everything that another configuration needs, so that to change to it can hardly fail.

        Raises ConfigError when something cannot be had, and then nothing has changed.
        """
        wanted = config.admin
        if not self.running or wanted == self._serves or (wanted.listen is None and self._port is None):
            return _Change(None, lambda prepared: None)
        if wanted.listen is None:
            return _Change(None, lambda prepared: self._close_port())
        try:
            return _Change(self._prepare(wanted), self._change_to)
        except Unusable as error:
            raise ConfigError("admin API", [Problem(error.path, error.text)]) from None

    def stopService(self) -> Deferred[None]:
        """Fires when no connection is left."""
        super().stopService()
        self.give_back()
        port, self._port = self._port, None
        self._api.end_streams()
        return Deferred.fromCoroutine(_close(port, self._factory, self._reactor))

    def give_back(self) -> None:
        """Close what `privilegedStartService` opened, when the process could not start."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.socket.close()

    def _prepare(self, wanted: AdminConfig) -> _Prepared:
        options = None if wanted.tls is None else tls_options(wanted.tls, "admin.tls")
        if self._serves is not None and wanted.listen in (self._serves.listen, self._address()):
            # The port stays: a copy of its socket goes on listening.
            copy = self._port.socket.dup()
            copy.setblocking(False)  # Python's copies block
            return _Prepared(wanted, copy, options)
        return _Prepared(wanted, tcp.listening_socket(wanted), options)

    def _address(self) -> Address:
        host = self._port.getHost()
        return Address(host.host, host.port)

    def _change_to(self, prepared: _Prepared) -> None:
        self._close_port()
        self._serve(prepared)

    def _serve(self, prepared: _Prepared) -> None:
        factory: Any = self._factory
        if prepared.options is not None:
            factory = tls_factory(prepared.options, factory, self._reactor)
        with prepared.socket as listening:
            self._port = self._reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
        self._serves = prepared.config
        scheme = "http" if prepared.options is None else "https"
        address = self._address()
        _log(LogId.API_LISTENING, address=f"{scheme}://{address}", port=address.port)

    def _close_port(self) -> None:
        """Connections stay, but each request has to bring the token that is right now; streams have brought theirs."""
        port, self._port, self._serves = self._port, None, None
        if port is not None:
            port.stopListening()
            self._api.end_streams()

    def _token(self) -> str:
        token = self._config().admin.token
        return self._no_token if token is None else token.get_secret_value()


@define
class _Prepared:
    """A socket that listens already, and what TLS connections are made with, if any."""

    config: AdminConfig
    socket: socket.socket
    options: Any


@define
class _Change:
    """A change that is prepared: to be committed, or to be discarded."""

    _prepared: _Prepared | None
    _commit: Callable[[Any], None]

    def commit(self) -> None:
        """Change."""
        self._commit(self._prepared)

    def discard(self) -> None:
        """Do not."""
        if self._prepared is not None:
            self._prepared.socket.close()


def adopt_unix(listening: socket.socket, factory: Any, reactor: Any) -> Any:
    """Twisted's port for a UNIX socket that is bound already; it takes a copy of the descriptor."""
    port = unix.Port._fromListeningDescriptor(reactor, listening.fileno(), factory)
    # Twisted would change the file's mode and remove it at the end, even if it is another's by then: let it take the
    # socket for one without a file.
    port._bindPath = b"\0inherited"
    port.backlog = unix_socket.BACKLOG
    port.startListening()
    return port


async def _close(port: Any, factory: ApiFactory, reactor: Any) -> None:
    if port is not None:
        await maybeDeferred(port.stopListening)
    for connection in factory.connections:
        # What is written goes out first.
        connection.loseConnection()
    left = FAREWELL
    while factory.connections and left > 0:
        await deferLater(reactor, STEP)
        left -= STEP
    for connection in factory.connections:
        connection.abortConnection()
