"""The way to an authenticated link at one node.

Lives here: `Login`, from the host name to connection.tune.  Must not know: other nodes, sessions, what travels over a
link.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
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


class Login:
    """One way from a node's host name to connection.tune, within `timeout` seconds.

    `answer` fires with the link; it fails with LinkRefused or LinkUnreachable, and may be cancelled.  `link` is there
    as soon as the TCP connection is.
    """

    def __init__(self, name: str, node: Node, timeout: float, request: LoginRequest, reactor: Any) -> None:
        self._name = name
        self._node = node
        self._timeout = timeout
        self.link: LinkProtocol | None = None
        self.answer: Deferred[LinkProtocol] = Attempt(
            self._log_in(request, reactor), timeout, reactor, too_late=self.too_late, abort=self.abort
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
        self.link = link
        # Octets come straight to the link from now on, not through the endpoint's wrapper.
        link.transport.protocol = link
        await link.log_in()
        return link

    def too_late(self) -> LinkUnreachable:
        """What to say when the handshake takes longer than `timeout`."""
        if self.link is not None:
            return self.link.too_late(self._timeout)
        return self._unreachable(f"{self._itself} could not be reached by TCP within {self._timeout:g}s")

    def abort(self) -> None:
        """End what there is of a link."""
        if self.link is not None:
            self.link.abort()

    def when_gone(self) -> Deferred[None]:
        """Fires when no connection is left.  Ask when `answer` has fired, or after `abort`."""
        if self.link is None:
            return succeed(None)
        waiting: Deferred[Any] = self.link.disconnected.wait()
        return waiting.addCallback(lambda _: None)

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
