"""HTTP below the calls: requests whose bodies are bounded while they arrive, refusals as JSON, few connections, no log.

Lives here: `make_site`, what is refused before anything is looked at.  Must not know: which calls there are.
"""

# mypy: disallow-untyped-calls=False, disallow-subclassing-any=False
# Twisted's web has hardly any annotations.

from __future__ import annotations

import hmac
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from trabbits.admin.errors import Refused
from trabbits.log_ids import LogId
from trabbits.logs import EventLog

#: Octets of a body.
BODY_LIMIT = 1024 * 1024
#: Octets of a body that is too large which are read, and thrown away, before the connection is closed in its middle.
SWALLOWED = 32 * 1024 * 1024
#: How the server calls itself: that, and no versions.
SERVER = b"trabbits"
#: Connections at a time, of one listener.
CONNECTIONS = 256
#: Seconds that a connection may be silent between requests or while one arrives.
IDLE = 60

_log = EventLog(Logger("trabbits.admin"))

#: The bearer token that every request has to bring; None where the socket's mode is protection enough.
Token = Callable[[], str | None]


class AdminRequest(Request):
    """A request that is checked before it reaches any call."""

    defaultContentType = b"application/json"  # noqa: N815  # Twisted's name
    channel: Any
    content: Any
    token: Token = staticmethod(lambda: None)

    def gotLength(self, length: int | None) -> None:  # noqa: N802  # Twisted's name
        self.content = BytesIO()
        self.received = length or 0
        self.is_too_large = self.received > BODY_LIMIT
        if self.received > SWALLOWED:
            self._hang_up()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        if self.is_too_large and self.received > SWALLOWED:
            return  # it is answered already
        content = self.content
        size = content.tell() + len(data)
        if not self.is_too_large and size <= BODY_LIMIT:
            content.write(data)
            return
        if not self.is_too_large:
            self.is_too_large = True
            self.received = size
            content.seek(0)
            content.truncate()
        else:
            self.received += len(data)
        if self.received > SWALLOWED:
            self._hang_up()

    def _hang_up(self) -> None:
        """Say no before the request is complete."""
        refused = _too_large()
        head = (
            f"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: {len(refused.body)}"
        )
        self.channel.transport.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + refused.body)
        self.channel.loseConnection()

    def process(self) -> None:
        try:
            self._check()
        except Refused as refused:
            self.refuse(refused)
            self.finish()
            return
        super().process()

    def render(self, resrc: Any) -> None:
        self.setHeader(b"Server", SERVER)
        super().render(resrc)

    def _check(self) -> None:
        self._check_token()
        if self.is_too_large:
            raise _too_large()
        try:
            self.method.decode("ascii")
            unquote_to_bytes(self.path).decode()
            self.getRequestHostname().decode()
        except UnicodeDecodeError:
            raise Refused(400, "the request's method, path or host is not text") from None
        if not self.path.startswith(b"/"):
            raise Refused(400, "the request's path does not begin with /")

    def _check_token(self) -> None:
        token = self.token()
        if token is None:
            return
        # RFC 6750 section 2.1; the scheme's case does not matter (RFC 9110 section 11.1).
        scheme, _, given = (self.getHeader(b"authorization") or b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), token.encode())
        if scheme.lower() != b"bearer" or not right:
            _log(LogId.API_REFUSED, peer=_address(self.getClientAddress()))
            raise Refused(401, "the token is missing or wrong", headers={"WWW-Authenticate": 'Bearer realm="trabbits"'})

    def refuse(self, refused: Refused) -> None:
        """Answer with an error; what ends the request is up to the caller."""
        self.setResponseCode(refused.status, HTTPStatus(refused.status).phrase.encode())
        self.setHeader(b"Server", SERVER)
        self.setHeader(b"Date", datetimeToString())
        self.setHeader(b"Content-Type", b"application/json")
        self.setHeader(b"Content-Length", b"%d" % len(refused.body))
        for name, value in refused.headers.items():
            self.setHeader(name.encode(), value.encode())
        self.write(refused.body)

    def fail(self, reason: Failure) -> None:
        """Something unexpected: no traceback for the client, one for the log.  The caller ends the request."""
        _log(LogId.INTERNAL_ERROR, text="an admin request failed", error=reason)
        if self.channel is not None and self.startedWriting:
            self.channel.transport.abortConnection()  # so that half an answer is not taken for a whole one
        elif self.channel is not None:
            self.refuse(Refused(500, "an internal error; the log of trabbits has more"))

    def processingFailed(self, reason: Failure) -> Failure:  # noqa: N802  # Twisted's name
        self.fail(reason)
        if self.channel is not None and not self.finished:
            self.finish()
        return reason


def _too_large() -> Refused:
    return Refused(413, f"the body is larger than {BODY_LIMIT} octets", headers={"Connection": "close"})


def _address(address: Any) -> str:
    if isinstance(address, IPv4Address | IPv6Address):
        return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    return "a UNIX socket"


class _QuietSite(Site):
    """Without an access log, and without the clock that its lines would need."""

    noisy = False

    def startFactory(self) -> None:  # noqa: N802  # Twisted's name
        return

    def log(self, request: Any) -> None:
        return


class ApiFactory(WrappingFactory):
    """Makes the connections of one listener, and knows them."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self.protocols) >= CONNECTIONS:
            _log(LogId.API_FULL, connections=CONNECTIONS)
            return None
        return super().buildProtocol(addr)

    @property
    def connections(self) -> list[ProtocolWrapper]:
        """The ones that are open."""
        return list(self.protocols)


def make_site(resource: IResource, reactor: Any, token: Token = lambda: None) -> ApiFactory:
    """A factory of connections to `resource`; with a `token`, only for those who know it."""
    kind = type("AdminRequest", (AdminRequest,), {"token": staticmethod(token)})
    return ApiFactory(_QuietSite(resource, kind, timeout=IDLE, reactor=reactor, parsePOSTFormSubmission=False))
