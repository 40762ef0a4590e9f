"""The proxy as one tree of Twisted services; ``trabbits run`` and ``twistd trabbits`` both end here.

Lives here: what runs, in which order it starts and stops.  Must not know: how options were given, where log
lines go, or anything about AMQP beyond the words of farewell.

Children start in the order in which they stand in the tree and stop one after the other in reverse: the
listener first, then the sessions, then the rest.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from trabbits.assembly import build_upstreams, session_settings
from trabbits.config import Config, default_config, load_config
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.session.settings import SessionSettings

if TYPE_CHECKING:
    from trabbits.upstream.upstream import Upstream

#: What clients are told when the process stops; RabbitMQ's code and name for it.
FAREWELL = (320, "CONNECTION_FORCED - Server shutting down")
#: Connections that the kernel holds for us while the reactor is busy.
BACKLOG = 1024
#: Seconds that a factory may take beyond what it was given to close its sessions.
_GRACE = 1.0

_log = EventLog(Logger("trabbits"))


@frozen
class Options:
    """How the process was started.

    `config` is a path; without one, a broker on this machine is used.  `host` is the address to listen on,
    empty for all IPv4 addresses; port 0 lets the system choose.  `metrics_port` and `api_socket` are not
    served yet.
    """

    config: str | None = None
    host: str = ""
    port: int = 6672
    metrics_port: int = 16692
    api_socket: str = "/tmp/trabbits.sock"
    pid_file: str | None = None
    debug: bool = False
    log_format: str | None = None


class SessionFactory(Protocol):
    """What the service tree needs of ``trabbits.frontend.listener.ClientFactory``."""

    sessions: Mapping[str, Any]

    def close_all(self, code: int, text: str, timeout: float) -> Deferred[None]:
        """Close every session within `timeout` seconds."""


def read_config(options: Options) -> Config:
    """The configuration that `options` name.  Raises `trabbits.config.ConfigError`."""
    return default_config() if options.config is None else load_config(options.config)


def make_service(options: Options, config: Config, reactor: Any) -> ProxyService:
    """The whole proxy, not started.  `reactor` is Twisted's."""
    from trabbits.frontend.listener import ClientFactory

    proxy = ProxyService(config, reactor)
    factory = ClientFactory(lambda: proxy.settings, lambda: proxy.upstreams, reactor)
    proxy.assemble(options, factory)
    named = [f"{upstream.name} ({', '.join(map(str, upstream.nodes))})" for upstream in config.upstreams]
    _log(LogId.CONFIG_LOADED, path=options.config or "(defaults)", upstreams=named)
    return proxy


class ProxyService(MultiService):
    """The tree's root.  `config`, `settings` and `upstreams` are what new sessions get."""

    def __init__(self, config: Config, reactor: Any) -> None:
        super().__init__()
        self.config = config
        self.settings: SessionSettings = session_settings(config)
        self.upstreams: Mapping[str, Upstream] = build_upstreams(config, reactor)
        self._reactor = reactor
        self._sessions: SessionsService | None = None

    def assemble(self, options: Options, factory: Any) -> None:
        """Add the children that `options` ask for.  `factory` is a `SessionFactory` and a Twisted factory."""
        if options.pid_file:
            self.addService(PidFileService(Path(options.pid_file)))
        self._sessions = SessionsService(factory, lambda: self.config.graceful_shutdown.shutdown_timeout, self._reactor)
        self.addService(self._sessions)
        self.addService(ListenerService(self._reactor, options.host, options.port, factory))

    def privilegedStartService(self) -> None:
        """Listen.  Raises CannotListenError when that is not possible."""
        raise_file_limit()
        super().privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """Stop the children one after the other, in reverse; a failing one does not keep the others running."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_children())

    def abort(self) -> None:
        """While stopping: wait for no client any longer."""
        if self._sessions is not None:
            self._sessions.abort()

    async def _stop_children(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception as error:
                _log(LogId.INTERNAL_ERROR, text=f"{child.name or type(child).__name__} failed to stop", error=error)
        _log(LogId.STOPPED)


class ListenerService(Service):
    """Listens for clients.  A port that cannot be had is an error at start, not a log line."""

    name = "listener"

    def __init__(self, reactor: Any, host: str, port: int, factory: Factory | IProtocolFactory) -> None:
        self._reactor = reactor
        self._host = host
        self._port_wanted = port
        self._factory = factory
        self._port: Any = None  # an IListeningPort, whose host is an address with a port

    @property
    def port(self) -> int:
        """The port number, once listening; never 0."""
        if self._port is None:
            raise RuntimeError("not listening")
        return int(self._port.getHost().port)

    def privilegedStartService(self) -> None:
        """Bind the port, which may need privileges that are dropped afterwards."""
        self._port = self._reactor.listenTCP(self._port_wanted, self._factory, BACKLOG, self._host)

    def startService(self) -> None:
        """Say so, once the reactor runs: from then on signals stop the process in an orderly way."""
        super().startService()
        if self._port is None:
            self.privilegedStartService()
        self._reactor.callWhenRunning(self._report)

    def stopService(self) -> Deferred[None]:
        """Let no new client in.  Clients that are connected stay."""
        super().stopService()
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)

    def _report(self) -> None:
        if self._port is not None:
            host = self._host or "0.0.0.0"
            address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
            _log(LogId.LISTENING, address=address, port=self.port, pid=os.getpid())


class SessionsService(Service):
    """Closes all sessions when the process stops; they begin by themselves, as clients connect."""

    name = "sessions"

    def __init__(self, factory: SessionFactory, timeout: Callable[[], float], reactor: Any) -> None:
        self._factory = factory
        self._timeout = timeout
        self._reactor = reactor
        self._impatience: Deferred[None] | None = None

    def stopService(self) -> Deferred[None]:
        """Fires when every client has left, when `timeout` is over, or after `abort`."""
        super().stopService()
        return Deferred.fromCoroutine(self._close_sessions())

    def abort(self) -> None:
        """Wait no longer."""
        if self._impatience is not None and not self._impatience.called:
            self._impatience.callback(None)

    async def _close_sessions(self) -> None:
        timeout = self._timeout()
        _log(LogId.STOPPING, sessions=len(self._factory.sessions), timeout=timeout)
        self._impatience = Deferred()
        closing = maybeDeferred(self._factory.close_all, *FAREWELL, timeout)
        closing.addTimeout(timeout + _GRACE, self._reactor)
        closing.addErrback(lambda failure: _log(LogId.INTERNAL_ERROR, text="sessions not closed", error=failure))
        await DeferredList([closing, self._impatience], fireOnOneCallback=True)


class PidFileService(Service):
    """Keeps the process id in a file for as long as the proxy runs."""

    name = "pid file"

    def __init__(self, path: Path) -> None:
        # Absolute, because a daemon changes its directory.
        self._path = path.absolute()

    def startService(self) -> None:
        """Write the file at once and whole.  Raises OSError."""
        super().startService()
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        except OSError as error:  # it names the temporary file, which means nothing to anybody
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        try:
            with os.fdopen(handle, "w") as file:
                file.write(f"{os.getpid()}\n")
            os.chmod(temporary, 0o644)
            os.replace(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise

    def stopService(self) -> None:
        """Remove the file, if it is still ours."""
        super().stopService()
        try:
            if self._path.read_text().strip() == str(os.getpid()):
                self._path.unlink()
        except OSError:
            return  # somebody else removed it


def raise_file_limit() -> None:
    """Allow this process as many open sockets as the system lets it: a client needs two at least."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return  # then the limit stays as it is
