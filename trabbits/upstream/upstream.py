"""An upstream: a named target that links are opened to.

Lives here: `Upstream` and the way to an authenticated link, from the host name to connection.tune.  Must not know:
sessions, what travels over a link.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress, IReactorTime
from txamqp.factory import AMQFactory

from trabbits.session.actions import LoginRequest
from trabbits.upstream.attempt import Attempt
from trabbits.upstream.errors import LinkUnreachable
from trabbits.upstream.node import Node
from trabbits.upstream.protocol import LinkProtocol

#: Seconds between the attempts to reach the addresses of one name.  Twisted waits as long after a refusal, too, so
#: it should be short; RFC 8305 section 8 wants no less.
ADDRESS_DELAY = 0.1


class Upstream:
    """One broker.  `timeout` (seconds) bounds `open_link` as a whole: name, TCP connection and login.

    It is meant for `LinkProtocol.open`, too: what a client takes between the two is not the upstream's time.
    """

    def __init__(self, name: str, address: str, timeout: float, reactor: Any) -> None:
        """Raises ValueError when `address` is not ``host:port``."""
        self.name = name
        self.node = Node.parse(address)
        self.address = str(self.node)
        self.timeout = timeout
        self._reactor = reactor

    def open_link(self, request: LoginRequest) -> Deferred[LinkProtocol]:
        """A link that accepted user and password, ready for `LinkProtocol.open`.

        Fails with LinkRefused or LinkUnreachable; may be cancelled.
        """
        return _Login(self.name, self.node, self.timeout, request, self._reactor).answer


class _LinkFactory(AMQFactory):  # type: ignore[misc]  # txamqp has no type information
    """Builds links for one request."""

    noisy = False

    def __init__(self, request: LoginRequest, upstream_name: str, node: str, clock: IReactorTime) -> None:
        # Not AMQFactory's: that loads a specification file, which txamqp does not ship.
        self._arguments = request, upstream_name, node, clock

    def buildProtocol(self, addr: IAddress | None) -> LinkProtocol:
        link = LinkProtocol(*self._arguments)
        link.factory = self
        return link


class _Login:
    """One way from the host name to connection.tune."""

    def __init__(self, name: str, node: Node, timeout: float, request: LoginRequest, reactor: Any) -> None:
        self._name = name
        self._node = node
        self._timeout = timeout
        self._link: LinkProtocol | None = None
        self.answer = Attempt(
            self._log_in(request, reactor), timeout, reactor, too_late=self._too_late, abort=self._abort
        ).answer

    async def _log_in(self, request: LoginRequest, reactor: Any) -> LinkProtocol:
        factory = _LinkFactory(request, self._name, str(self._node), reactor)
        # The name is resolved anew for each attempt: brokers move.
        node = self._node
        endpoint = HostnameEndpoint(reactor, node.host, node.port, timeout=self._timeout, attemptDelay=ADDRESS_DELAY)
        try:
            link = await endpoint.connect(factory)
        except Exception as exc:
            raise self._unreachable(self._connect_text(exc)) from None
        assert isinstance(link, LinkProtocol)  # what the factory builds
        self._link = link
        # Octets come straight to the link from now on, not through the endpoint's wrapper.
        link.transport.protocol = link
        await link.log_in()
        return link

    def _too_late(self) -> LinkUnreachable:
        if self._link is not None:
            return self._link.too_late(self._timeout)
        return self._unreachable(f"{self._itself} could not be reached by TCP within {self._timeout:g}s")

    def _abort(self) -> None:
        if self._link is not None:
            self._link.abort()

    def _unreachable(self, text: str) -> LinkUnreachable:
        return LinkUnreachable(self._name, str(self._node), text)

    def _connect_text(self, exc: Exception) -> str:
        match exc:
            case error.ConnectionRefusedError():
                return f"{self._itself} refused the TCP connection"
            case error.DNSLookupError():
                return f"{self._itself}: host name '{self._node.host}' could not be resolved"
            case error.TimeoutError():
                return f"{self._itself} could not be reached by TCP within {self._timeout:g}s"
            case CancelledError() | error.ConnectingCancelledError():
                return f"{self._itself}: given up"
            case _:
                return f"{self._itself} could not be reached: {exc}"

    @property
    def _itself(self) -> str:
        return f"upstream '{self._name}' ({self._node})"
