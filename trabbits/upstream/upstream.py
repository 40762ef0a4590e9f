"""An upstream: a named target that links are opened to.

Lives here: `Upstream` and one attempt to open a link, from the host name to connection.open-ok.  Must not know:
sessions, what travels over a link.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure
from txamqp.factory import AMQFactory

from trabbits.session.actions import LinkRequest
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.node import Node
from trabbits.upstream.protocol import LinkProtocol

#: Seconds between the attempts to reach the addresses of one name.  Twisted waits as long after a refusal, too, so
#: it should be short; RFC 8305 section 8 wants no less.
ADDRESS_DELAY = 0.1


class Upstream:
    """One broker.  `timeout` (seconds) bounds an attempt as a whole: name, TCP connection and AMQP handshake."""

    def __init__(self, name: str, address: str, timeout: float, reactor: Any) -> None:
        """Raises ValueError when `address` is not ``host:port``."""
        self.name = name
        self.node = Node.parse(address)
        self.address = str(self.node)
        self.timeout = timeout
        self._reactor = reactor

    def open_link(self, request: LinkRequest) -> Deferred[LinkProtocol]:
        """A link, ready to be attached.  Fails with LinkRefused or LinkUnreachable; may be cancelled."""
        return _Attempt(self.name, self.node, self.timeout, request, self._reactor).answer


class _LinkFactory(AMQFactory):  # type: ignore[misc]  # txamqp has no type information
    """Builds links for one request."""

    noisy = False

    def __init__(self, request: LinkRequest, upstream_name: str, node: str, clock: IReactorTime) -> None:
        # Not AMQFactory's: that loads a specification file, which txamqp does not ship.
        self._arguments = request, upstream_name, node, clock

    def buildProtocol(self, addr: IAddress | None) -> LinkProtocol:
        link = LinkProtocol(*self._arguments)
        link.factory = self
        return link


class _Attempt:
    """One attempt to open a link; `answer` fires once, and nothing of a failed attempt stays behind."""

    def __init__(self, name: str, node: Node, timeout: float, request: LinkRequest, reactor: Any) -> None:
        self._name = name
        self._node = node
        self._timeout = timeout
        self._link: LinkProtocol | None = None
        self._over = False
        self.answer: Deferred[LinkProtocol] = Deferred(lambda _: self._give_up())
        self._timer = reactor.callLater(timeout, self._timed_out)
        self._work = Deferred.fromCoroutine(self._open(request, reactor))
        self._work.addBoth(self._settle)

    async def _open(self, request: LinkRequest, reactor: Any) -> LinkProtocol:
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
        await link.handshake()
        return link

    def _settle(self, result: LinkProtocol | Failure) -> None:
        if self._over:
            # Given up meanwhile: `answer` is told already.
            self._abort()
            return
        self._over = True
        self._timer.cancel()
        if isinstance(result, Failure) and not result.check(LinkRefused):
            # A refused link sends its close-ok before it closes by itself.
            self._abort()
        self.answer.callback(result)

    def _timed_out(self) -> None:
        seconds = f"{self._timeout:g}s"
        if self._link is None:
            text = f"{self._itself} could not be reached by TCP within {seconds}"
        else:
            text = f"{self._itself} did not finish the AMQP handshake within {seconds}: no {self._link.stage.value}"
        self._give_up()
        self.answer.errback(self._unreachable(text))

    def _give_up(self) -> None:
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        self._work.cancel()
        self._abort()

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
