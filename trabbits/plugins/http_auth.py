"""Asks an HTTP service whether a client may come in.

Lives here: `HttpAuth`: the question as JSON, and what each answer means.  Must not know: what the service decides by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from trabbits.interfaces import IConnectionPolicy, Refusal, Visitor
from trabbits.plugins.declaring import Plugin, PluginOptions

ACCESS_REFUSED = 403
INTERNAL_ERROR = 541
#: Octets of an answer that are read; a reply text has room for 255.
MOST_TEXT = 1024


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or not url.isascii() or any(each.isspace() for each in url):
        raise PydanticCustomError("expected", "expected a URL of http or https")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("expected", "expected a URL without user and password; there is the option token")
    return url


class HttpAuthOptions(PluginOptions):
    """Which service, and what if it does not answer."""

    url: Annotated[str, AfterValidator(_http_url)]
    """Where the question is sent (POST)."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 3.0
    """Seconds for the whole answer; should be less than `policy_timeout`, which refuses the client in any case."""
    fail_open: bool = False
    """Whether clients are let in when the service does not answer, or with something else than yes or no."""
    token: SecretStr | None = None
    """Sent as ``Authorization: Bearer …``."""
    connections: Annotated[int, Field(ge=1, le=1000)] = 16
    """How many questions are under way at once at most; others wait, within `timeout`."""


@implementer(IConnectionPolicy)
class HttpAuth:
    """2xx lets a client in; 401 and 403 refuse it, with the answer's text."""

    _log = Logger()

    def __init__(self, options: HttpAuthOptions, reactor: Any) -> None:
        self._options = options
        self._reactor = reactor
        self._room = DeferredSemaphore(options.connections)
        self._client: Any = None

    def admit(self, visitor: Visitor) -> Deferred[Refusal | None]:
        dropped = False

        def drop(_: Deferred[Refusal | None]) -> None:
            nonlocal dropped
            dropped = True
            asked.cancel()

        def came(result: Refusal | Failure | None) -> None:
            # Who cancels it has the answer already.
            if not dropped:
                answer.callback(self._failed(result) if isinstance(result, Failure) else result)

        answer: Deferred[Refusal | None] = Deferred(drop)
        asked = self._room.run(self._ask, visitor)
        # Whatever is under way then is given up.
        asked.addTimeout(self._options.timeout, self._reactor, _too_late)
        asked.addBoth(came)
        return answer

    def left(self, visitor: Visitor) -> None:
        """The service is not told."""

    def _ask(self, visitor: Visitor) -> Deferred[Refusal | None]:
        return Deferred.fromCoroutine(self._question(visitor))

    async def _question(self, visitor: Visitor) -> Refusal | None:
        if self._client is None:
            self._client = self._new_client()
        options = self._options
        headers = {"Content-Type": "application/json", "Accept": "text/plain"}
        if options.token is not None:
            headers["Authorization"] = f"Bearer {options.token.get_secret_value()}"
        response = await self._client.post(
            options.url, data=_question(visitor), headers=headers, allow_redirects=False, unbuffered=True
        )
        text = await _beginning(response)
        if 200 <= response.code < 300:
            return None
        if response.code in (401, 403):
            return Refusal(ACCESS_REFUSED, f"ACCESS_REFUSED - {text or 'refused by the authorization service'}")
        raise ConnectionError(f"status {response.code}")

    def _failed(self, failure: Failure) -> Refusal | None:
        text = f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
        if self._options.fail_open:
            self._log.warn("http_auth: {url} failed, clients are let in: {text}", url=self._options.url, text=text)
            return None
        self._log.error("http_auth: {url} failed, clients are refused: {text}", url=self._options.url, text=text)
        return Refusal(INTERNAL_ERROR, "INTERNAL_ERROR - the authorization service did not answer properly")

    def _new_client(self) -> Any:
        # Only when it is needed: treq is large.
        from treq.client import HTTPClient
        from twisted.web.client import Agent

        # A connection for each question: one that is kept may be closed by the service in the moment when it is used
        # again, and a POST is not sent twice.
        return HTTPClient(Agent(self._reactor, connectTimeout=self._options.timeout))


def _too_late(_: object, timeout: float) -> NoReturn:
    raise TimeoutError(f"no answer within {timeout:g} s")


def _question(visitor: Visitor) -> bytes:
    return json.dumps(
        {
            "session": visitor.session,
            "address": visitor.address,
            "user": visitor.user,
            "virtual_host": visitor.virtual_host,
            "properties": _plain(visitor.properties),
        }
    ).encode()


def _plain(value: Any) -> Any:
    """AMQP's values as JSON has them: octets become text, and what it does not know is shown as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)  # JSON has no infinities, and no times


def _beginning(response: Any) -> Deferred[str]:
    """The first line of an answer's body, bounded; the rest is not read."""
    from twisted.internet.protocol import Protocol, connectionDone
    from twisted.web.client import ResponseDone
    from twisted.web.http import PotentialDataLoss

    found: Deferred[str] = Deferred(lambda _: body.drop())

    class Body(Protocol):
        octets = b""

        def dataReceived(self, data: bytes) -> None:
            self.octets += data
            if len(self.octets) > MOST_TEXT:
                self.drop()

        def drop(self) -> None:
            abort = getattr(self.transport, "abortConnection", None) or getattr(self.transport, "loseConnection", None)
            if abort is not None:
                abort()

        def connectionLost(self, reason: Failure = connectionDone) -> None:
            if found.called:
                return
            if reason.check(ResponseDone, PotentialDataLoss) or len(self.octets) > MOST_TEXT:
                lines = self.octets[:MOST_TEXT].decode("utf-8", "replace").split("\n")
                found.callback("".join(each for each in lines[0].strip() if each.isprintable())[:200])
            else:
                found.errback(reason)

    body = Body()
    response.deliverBody(body)
    return found


http_auth = Plugin(
    "http_auth",
    IConnectionPolicy,
    HttpAuthOptions,
    lambda options, context: HttpAuth(options, context.reactor),
    "asks an HTTP service whether a client may come in",
)
