"""Listening for clients: on a port that other processes may share, or on sockets that systemd passed on.

Lives here: `ListenerService`.  Must not know: what a client is.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.service.syn_filter import refuse_new_connections

#: Connections that the kernel holds for us while the reactor is busy.
BACKLOG = 1024
#: Seconds for the clients whose TCP handshake is under way when the listener stops: a slow round trip.
HANDSHAKE_GRACE = 0.2

_log = EventLog(Logger("trabbits"))


@frozen
class _Port:
    """One socket that listens: Twisted's port, and whose socket it is (shared port, exclusive port, inherited)."""

    port: Any
    address: str
    kind: str


class ListenerService(Service):
    """Listens for clients.  A port that cannot be had is an error at start, not a log line.

    With `inherited` sockets, host and port mean nothing.  `note` is said of its sockets in the log.
    """

    name = "listener"

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        factory: Factory | IProtocolFactory,
        reuse_port: bool = True,
        inherited: Sequence[socket.socket] = (),
        note: str = "",
    ) -> None:
        self._note = note
        self._reactor = reactor
        self._host = host
        self._port_wanted = port
        self._factory = factory
        self._reuse_port = reuse_port
        self._inherited = list(inherited)
        self._ports: list[_Port] = []

    @property
    def port(self) -> int:
        """The number of the first TCP port, once listening; never 0."""
        for each in self._ports:
            number = getattr(each.port.getHost(), "port", None)
            if number is not None:
                return int(number)
        raise RuntimeError("not listening")

    def privilegedStartService(self) -> None:
        """Bind the port, which may need privileges that are dropped afterwards."""
        sockets, self._inherited = self._inherited, []
        kind = "inherited"
        if not sockets:
            kind = "shared" if self._reuse_port else "exclusive"
            sockets = [bind(self._host, self._port_wanted, reuse_port=self._reuse_port)]
        for each in sockets:
            # Twisted takes a copy of the descriptor.
            with each:
                self._ports.append(_Port(self._adopt(each), address_of(each), kind))

    def startService(self) -> None:
        """Say so, once the reactor runs: from then on signals stop the process in an orderly way."""
        super().startService()
        if not self._ports:
            self.privilegedStartService()
        self._reactor.callWhenRunning(self._report)

    def stopService(self) -> Deferred[None]:
        """Let no new client in.  Clients that are connected stay, and so do those that the kernel holds for us."""
        super().stopService()
        ports, self._ports = self._ports, []
        return Deferred.fromCoroutine(self._stop(ports))

    async def _stop(self, ports: list[_Port]) -> None:
        # All of them, before anything is waited for.
        filtered = [
            refuse_new_connections(each.port.socket)
            for each in ports
            if each.kind == "shared" and isinstance(each.port, tcp.Port)
        ]
        if any(filtered):
            await deferLater(self._reactor, HANDSHAKE_GRACE)
        for each in ports:
            if each.kind == "inherited" or not isinstance(each.port, tcp.Port):
                # What waits in an inherited socket waits for the next process that gets it.
                await maybeDeferred(each.port.stopListening)
                continue
            accept_waiting(each.port)
            # Twisted closes it in the next turn of the reactor; what comes until then is accepted right before.
            last = deferLater(self._reactor, 0, accept_waiting, each.port)
            await gatherResults([last, maybeDeferred(each.port.stopListening)])

    def _adopt(self, listening: socket.socket) -> Any:
        if listening.family != socket.AF_UNIX:
            return self._reactor.adoptStreamPort(listening.fileno(), listening.family, self._factory)
        port = unix.Port._fromListeningDescriptor(self._reactor, listening.fileno(), self._factory)
        # Twisted would change the mode of somebody else's file and remove it at the end: let it take the socket for one
        # without a file.
        port._bindPath = b"\0inherited"
        port.backlog = BACKLOG
        port.startListening()
        return port

    def _report(self) -> None:
        for each in self._ports:
            number = getattr(each.port.getHost(), "port", None)
            kind = each.kind + self._note
            _log(LogId.LISTENING, address=each.address, socket=kind, port=number, pid=os.getpid())


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """A listening socket; `host` is empty for all IPv4 addresses.  Raises CannotListenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        address = socket.getaddrinfo(host or "0.0.0.0", port, family, socket.SOCK_STREAM)[0][4]
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListenError(host, port, error) from None
    return listening


def accept_waiting(port: tcp.Port) -> None:
    """Accept every connection that the kernel holds for a port that is about to be closed."""
    if not port.connected:
        return
    poll = select.poll()
    poll.register(port.fileno(), select.POLLIN)
    for _ in range(BACKLOG):
        if not poll.poll(0):
            break
        port.doRead()


def address_of(listening: socket.socket) -> str:
    """Where a socket listens, for people."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        path = name.decode(errors="replace") if isinstance(name, bytes) else name
        return f"unix:{path.replace(chr(0), '@')}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
