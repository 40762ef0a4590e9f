"""A client of the admin API, over its UNIX socket or over TCP.

Lives here: one request, one stream of events, and words for what can go wrong.  Must not know: what the answers
mean (the command line and the console do), and Twisted: calls block, so that a script needs no event loop.

A client holds no connection: each call opens its own, so any number of threads may share it.  Nothing is retried.
"""

from __future__ import annotations

import http.client
import json
import os
import socket as sockets
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from attrs import define

DEFAULT_SOCKET = "/tmp/trabbits.sock"
TIMEOUT = 30.0
# The server sends a comment every 15 s; who misses two of them has lost the connection.
STREAM_TIMEOUT = 45.0
MAXIMUM_ANSWER = 256 * 1024 * 1024
MAXIMUM_EVENT = 16 * 1024 * 1024
_READ_SIZE = 65536

Query = str | int | None


class ApiError(Exception):
    """The server answered, and the answer is no: `status`, its text, and where a body is wrong: (path, message)."""

    def __init__(self, status: int, text: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.problems = problems


class ApiUnreachable(Exception):
    """No usable answer: not running, wrong place, no permission, too late.  The text names the place and a remedy."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@define(frozen=True)
class Answer:
    """A successful answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """Decoded JSON; text where the answer is no JSON."""
        if "json" in self.headers.get("content-type", ""):
            return json.loads(self.body)
        return self.body.decode(errors="replace")

    @property
    def total(self) -> int:
        """How many there are in all, of which a listing shows a part."""
        text = self.headers.get("x-total-count", "")
        return int(text) if text.isascii() and text.isdigit() else len(self.content)


class ApiClient:
    """Speaks to one admin API: `socket` is the path of its UNIX socket; or `url` with a bearer `token`.

    Every call may raise ApiError and ApiUnreachable.  ValueError: a URL or a token that cannot be one.
    """

    def __init__(
        self,
        *,
        socket: str | None = None,
        url: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.timeout = timeout
        self._headers = {"User-Agent": "trabbits", "Connection": "close"}
        if token is not None:
            # Never tell the token in an error: it is a secret.
            if not token or not token.isascii() or not token.isprintable() or " " in token:
                raise ValueError("a token is printable ASCII without spaces")
            self._headers["Authorization"] = f"Bearer {token}"
        self._prefix = ""
        self._is_socket = url is None
        self._open: Callable[[], http.client.HTTPConnection]
        if url is None:
            path = DEFAULT_SOCKET if socket is None else socket
            self.place = path
            self._open = lambda: _UnixConnection(path, timeout)
        else:
            self.place = url
            self._open, self._prefix = _tcp(url, ca_file, timeout)

    def __repr__(self) -> str:
        return f"ApiClient({self.place!r})"

    def get(self, path: str, **query: Query) -> Any:
        """The decoded answer of GET; `path` like `path_of("clients", id)`.  A query value of None is left out."""
        return self.request("GET", path, query=query).content

    def put(self, path: str, body: bytes, content_type: str = "application/json", **query: Query) -> Any:
        """The decoded answer of PUT."""
        return self.request("PUT", path, body, content_type, query).content

    def post(self, path: str, body: bytes = b"", content_type: str = "application/json", **query: Query) -> Any:
        """The decoded answer of POST."""
        return self.request("POST", path, body, content_type, query).content

    def delete(self, path: str, **query: Query) -> Any:
        """The decoded answer of DELETE."""
        return self.request("DELETE", path, query=query).content

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        query: Mapping[str, Query] | None = None,
    ) -> Answer:
        """Any call, with status and headers of the answer (`.total` of a listing among them)."""
        connection, response = self._send(method, path, body, content_type, query or {}, "application/json, text/plain")
        try:
            return self._finish(response)
        finally:
            response.close()
            connection.close()

    def stream(self, path: str, **query: Query) -> EventStream:
        """The server-sent events of GET, one decoded object each, until the server ends them or close() is called."""
        connection, response = self._send("GET", path, None, "", query, "text/event-stream")
        if response.status != 200 or response.headers.get_content_type() != "text/event-stream":
            try:
                self._finish(response)
                raise ApiUnreachable(f"{self.place} sends no events at {path}; is it a trabbits of this version?")
            finally:
                response.close()
                connection.close()
        return EventStream(connection, response, self.place)

    def _send(
        self, method: str, path: str, body: bytes | None, content_type: str, query: Mapping[str, Query], accept: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        target = self._prefix + path
        given = {name: value for name, value in query.items() if value is not None}
        if given:
            target += "?" + urlencode(given)
        headers = {**self._headers, "Accept": accept}
        if body:
            headers["Content-Type"] = content_type
        connection = self._open()
        try:
            connection.connect()
        except (OSError, ValueError) as error:
            connection.close()
            raise ApiUnreachable(self._why_no_connection(error)) from error
        try:
            try:
                connection.request(method, target, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                # Who refuses a body before its end answers first and closes then: the answer says why.
                pass
            # The socket, because http.client forgets it as soon as the answer says that it will be closed.
            kept = connection.sock
            response = connection.getresponse()
            connection.sock = kept
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ApiUnreachable(self._why_no_answer(error)) from error
        return connection, response

    def _finish(self, response: http.client.HTTPResponse) -> Answer:
        """Read the rest of an answer; ApiError if it is one."""
        try:
            body = response.read(MAXIMUM_ANSWER + 1)
            if response.length and len(body) <= MAXIMUM_ANSWER:  # a read of a given size doesn't complain itself
                raise http.client.IncompleteRead(body)
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnreachable(self._why_no_answer(error)) from error
        if len(body) > MAXIMUM_ANSWER:
            raise ApiUnreachable(f"the answer of {self.place} is larger than {MAXIMUM_ANSWER} bytes")
        answer = Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, body)
        if response.status < 200 or response.status >= 300:
            raise _error_of(answer, response.reason)
        try:
            answer.content  # noqa: B018  # so that a wrong answer is noticed here and not by who reads it
        except ValueError as error:
            raise ApiUnreachable(f"{self.place} answers, but not with what trabbits would send") from error
        return answer

    def _why_no_connection(self, error: Exception) -> str:
        if self._is_socket:
            return _why_no_socket(self.place, error)
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{self.place}: its certificate is not trusted ({error.verify_message}); name its CA with --ca-file"
        if isinstance(error, ssl.SSLError):
            return f"{self.place}: no TLS there ({error.reason or error}); an admin.listen without tls wants http://"
        if isinstance(error, TimeoutError):
            return f"{self.place}: no connection within {self.timeout:g} s"
        return f"no connection to {self.place} ({_cause(error)}); is trabbits running there, with admin.listen?"

    def _why_no_answer(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"{self.place}: no answer within {self.timeout:g} s; the process may be stopped or overloaded"
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
            return f"what listens at {self.place} does not speak HTTP; is it the admin API of trabbits?"
        if isinstance(error, (ConnectionError, http.client.IncompleteRead)):
            return f"{self.place} closed the connection before its answer was complete; did trabbits stop?"
        return f"no usable answer from {self.place} ({_cause(error)})"


class EventStream:
    """Events as they come.  Iterate in one thread; close() may be called from any, and ends the iteration.

    The iteration ends when the server ends the stream; ApiUnreachable means that it broke off.
    """

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, place: str) -> None:
        self._connection = connection
        self._response = response
        self._place = place
        self._socket: sockets.socket = connection.sock
        self._socket.settimeout(STREAM_TIMEOUT)
        self._closed = False
        self._events = self._read()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
        self._release()

    def close(self) -> None:
        """Stop; a thread that waits for the next event is woken."""
        self._closed = True
        try:
            # The plain socket's, also under TLS, where the wrapper's would pull the rug from under a reader.
            sockets.socket.shutdown(self._socket, sockets.SHUT_RDWR)
        except OSError:
            pass  # ended already

    def _read(self) -> Iterator[dict[str, Any]]:
        try:
            data: list[bytes] = []
            for line in self._lines():
                if line:
                    if line.startswith(b"data:"):
                        data.append(line[5:].removeprefix(b" "))
                        if sum(map(len, data)) > MAXIMUM_EVENT:
                            raise self._garbled
                elif data:
                    yield self._decode(b"\n".join(data))
                    data = []
        finally:
            self._release()

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        while True:
            try:
                octets = self._response.read1(_READ_SIZE)
            except TimeoutError as error:
                if self._closed:
                    return
                raise ApiUnreachable(f"nothing heard from {self._place} for {STREAM_TIMEOUT:g} s") from error
            except (OSError, ValueError, http.client.HTTPException) as error:
                if self._closed:
                    return
                raise ApiUnreachable(f"the connection to {self._place} broke off; did trabbits stop?") from error
            if not octets or self._closed:
                return
            *lines, rest = (rest + octets).split(b"\n")
            if len(rest) > MAXIMUM_EVENT:
                raise self._garbled
            for line in lines:
                yield line.removesuffix(b"\r")

    def _decode(self, octets: bytes) -> dict[str, Any]:
        try:
            event = json.loads(octets)
        except ValueError as error:
            raise self._garbled from error
        if isinstance(event, dict):
            return event
        raise self._garbled

    @property
    def _garbled(self) -> ApiUnreachable:
        return ApiUnreachable(f"{self._place} sends something that is no event of trabbits")

    def _release(self) -> None:
        self._response.close()
        self._connection.close()


def path_of(*parts: str) -> str:
    """`path_of("clients", id, "probe")`: a path whose parts may hold any character."""
    return "".join("/" + quote(part, safe="") for part in parts)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _tcp(url: str, ca_file: str | None, timeout: float) -> tuple[Callable[[], http.client.HTTPConnection], str]:
    """How to open connections to this URL, and what stands before every path."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f'{url!r} is no address of an admin API; expected something like "https://host:16693"')
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the address of an admin API has no user, no password, no ? and no #")
    prefix = parts.path.rstrip("/")
    if parts.scheme == "http":
        return lambda: http.client.HTTPConnection(host, port, timeout=timeout), prefix
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(f"{ca_file}: no certificates to be read there ({_cause(error)})") from error
    return lambda: http.client.HTTPSConnection(host, port, timeout=timeout, context=context), prefix


def _error_of(answer: Answer, reason: str) -> ApiError:
    try:
        content = answer.content
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("error"), str):
        return ApiError(answer.status, f"{answer.status} {reason}".strip())
    listed = content.get("problems")
    problems = tuple(
        (str(problem.get("path", "")), str(problem.get("message", "")))
        for problem in (listed if isinstance(listed, list) else ())
        if isinstance(problem, dict)
    )
    return ApiError(answer.status, content["error"], problems)


def _why_no_socket(path: str, error: Exception) -> str:
    elsewhere = "another socket is named by --api-socket or TRABBITS_API_SOCKET"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"{path}: no such socket. Is trabbits running? If it is, {elsewhere}"
    if isinstance(error, ConnectionRefusedError):
        if _is_socket(path):
            return f"{path}: nobody listens there any more. Is trabbits running? If it is, {elsewhere}"
        return f"{path}: not a socket; {elsewhere}"
    if isinstance(error, PermissionError):
        return f"{path}: no permission{_owner(path)}. Run this as the user that trabbits runs as, or as root"
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return f"{path}: nobody accepts the connection; the process may be stopped or overloaded"
    return f"{path}: no connection ({_cause(error)}); {elsewhere}"


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _owner(path: str) -> str:
    import pwd

    try:
        return f", it belongs to the user {pwd.getpwuid(os.stat(path).st_uid).pw_name}"
    except (OSError, KeyError):
        return ""


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
