"""Clients whose connections are encrypted.

Lives here: `SecureClients`, a factory that puts TLS before every client, and the protocol behind it.
Must not know: where is listened, what is made of a client's certificate.

A session begins with the TCP connection, so its handshake timeout bounds the TLS handshake as well; no octet of AMQP
reaches it before that is done.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from trabbits.frontend.listener import ClientFactory
from trabbits.frontend.protocol import ClientProtocol
from trabbits.tls import client_certificate, failure_text, tls_factory


class SecureClients(Factory):
    """Puts TLS before every client of `clients`.  Nobody may come before `use` was called."""

    noisy = False

    def __init__(self, clients: ClientFactory, reactor: Any) -> None:
        self._inner = _Behind(clients)
        self._reactor = reactor
        self._wrapping: Any = None

    def use(self, options: Any) -> None:
        """Make connections with these options from now on; those that are there stay as they are."""
        self._wrapping = tls_factory(options, self._inner, self._reactor)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._wrapping.buildProtocol(addr)


class _Behind(Factory):
    """Makes what stands behind TLS."""

    noisy = False

    def __init__(self, clients: ClientFactory) -> None:
        self._clients = clients

    def buildProtocol(self, addr: IAddress | None) -> SecureClientProtocol:
        return SecureClientProtocol(self._clients)


@implementer(IHandshakeListener)
class SecureClientProtocol(ClientProtocol):
    """One client's connection, behind TLS."""

    def handshakeCompleted(self) -> None:
        if self.runner is not None:
            # Nothing follows from that yet.
            self.runner.session.client_secured(client_certificate(self.transport))

    def reason_text(self, reason: Failure) -> str:
        return failure_text(reason.value) or super().reason_text(reason)
