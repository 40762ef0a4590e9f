"""The protocol of a client's connection: passes octets on, parses nothing, decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from trabbits.frontend.client_transport import ClientTransport
from trabbits.frontend.runner import SessionRunner

if TYPE_CHECKING:
    from trabbits.frontend.listener import ClientFactory


class ClientProtocol(Protocol):
    """One client's connection."""

    def __init__(self, factory: ClientFactory) -> None:
        self._factory = factory
        #: None before there is a connection.
        self.runner: SessionRunner | None = None
        self._client: ClientTransport | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._client = ClientTransport(self.transport, self._factory.clock, self._full, self._drained)
        self.runner = self._factory.session_for(self._client, address_text(self.transport.getPeer()))
        # Straight to the runner from now on: one call less for every read.
        self.dataReceived = self.runner.receive  # type: ignore[method-assign]  # on purpose, see above
        self.runner.client_connected()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._client is not None:
            self._client.gone()
        if self.runner is not None:
            self.runner.client_lost(self.reason_text(reason))

    def reason_text(self, reason: Failure) -> str:
        """Why the connection is gone, for people."""
        return reason.getErrorMessage()

    def _full(self) -> None:
        if self.runner is not None:
            self.runner.client_full()

    def _drained(self) -> None:
        if self.runner is not None:
            self.runner.client_drained()


def address_text(address: IAddress) -> str:
    """The peer's address for people: ``host:port``, ``[host]:port``, or ``unix``."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        return "unix"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
