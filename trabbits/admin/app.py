"""The calls of the admin API: paths, parameters, statuses.

Lives here: `Api`, a Klein application.  Must not know: sockets and tokens (``site.py``, ``listening.py``), or how
anything is found out or done: each call asks the module that knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect

from trabbits import __version__
from trabbits.admin import clients, upstreams
from trabbits.admin.config_calls import ConfigCalls
from trabbits.admin.errors import Refused
from trabbits.admin.events import EventStream
from trabbits.admin.interface import Process
from trabbits.admin.log_ring import LEVELS, LogRing
from trabbits.admin.openapi import document
from trabbits.admin.probe import probe
from trabbits.admin.queries import Query
from trabbits.log_ids import LogId
from trabbits.logs import EventLog

#: Streams of events at a time.
STREAMS = 100
#: What a client is told that an administrator shuts down without a word.
DEFAULT_REASON = "Closed by an administrator"
#: Octets of a reason: together with what stands before it, it has to fit AMQP's short string.
REASON_LIMIT = 200

_log = EventLog(Logger("trabbits.admin"))


class Api:
    """The application for one `process`, whose log is in `ring`."""

    app: Klein = Klein()
    app.url_map.merge_slashes = False

    def __init__(self, process: Process, ring: LogRing, reactor: Any) -> None:
        self._process = process
        self._ring = ring
        self._reactor = reactor
        self._config = ConfigCalls(process)
        self._streams: set[EventStream] = set()

    def resource(self) -> Any:
        """For a site."""
        return self.app.resource()

    def end_streams(self) -> None:
        """The process is about to end: let nobody wait for events."""
        for stream in list(self._streams):
            stream.end()

    # The process

    @app.route("/", methods=["GET"])
    def index(self, request: IRequest) -> bytes:
        """What this is, and where to go."""
        Query(_args(request), [])
        links = sorted(path for path in document()["paths"] if "{" not in path and path != "/")
        return _json(request, {"name": "trabbits", "version": __version__, "links": links})

    @app.route("/openapi.json", methods=["GET"])
    def openapi(self, request: IRequest) -> bytes:
        """The description of all calls."""
        Query(_args(request), [])
        return _json(request, document())

    @app.route("/health/live", methods=["GET"])
    def live(self, request: IRequest) -> bytes:
        """Whether the process works at all."""
        Query(_args(request), [])
        return _json(request, {"status": "live"})

    @app.route("/health/ready", methods=["GET"])
    def ready(self, request: IRequest) -> bytes:
        """Whether clients should be sent here."""
        Query(_args(request), [])
        reasons = upstreams.not_ready(self._process)
        if reasons:
            return _json(request, {"error": "; ".join(reasons), "status": "not ready", "reasons": reasons}, 503)
        return _json(request, {"status": "ready"})

    @app.route("/logs", methods=["GET"])
    def logs(self, request: IRequest) -> Any:
        """The log, as events."""
        level = Query(_args(request), ["level"]).choice("level", LEVELS, LEVELS[0])
        wanted = LEVELS[LEVELS.index(level) :]

        def send(line: tuple[str, str]) -> None:
            if line[0] in wanted:
                stream.send(lambda: line[1])

        stream = self._open_stream(request)
        for line in self._ring.lines():
            send(line)
        stream.when_over(self._ring.watch(send))
        return _finished(request, stream)

    # Clients

    @app.route("/clients", methods=["GET"])
    async def clients(self, request: IRequest) -> None:
        """Those that are connected."""
        query = Query(_args(request), ["limit", "offset", "sort", "q"])
        sort = query.text("sort")
        field = sort.removeprefix("-")
        if sort and field not in clients.FIELDS:
            raise Refused(400, f"sort: expected one of {', '.join(clients.FIELDS)}, with - for descending order")
        listing = clients.Listing(
            query.text("q"), field, sort.startswith("-"), query.number("offset", 0) or 0, query.number("limit", 1)
        )
        pieces, total = await listing.octets(self._process, self._reactor)
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Content-Length", b"%d" % sum(map(len, pieces)))
        request.setHeader(b"X-Total-Count", b"%d" % total)
        for piece in pieces:
            request.write(piece)

    @app.route("/clients/<string:id>", methods=["GET"])
    def client(self, request: IRequest, id: str) -> bytes:
        """One of them."""
        Query(_args(request), [])
        return _json(request, clients.detail(self._connected(id), clients.now()))

    @app.route("/clients/<string:id>", methods=["DELETE"])
    def shut_down(self, request: IRequest, id: str) -> bytes:
        """Let one leave properly."""
        reason = _reason(Query(_args(request), ["reason"]).text("reason") or DEFAULT_REASON)
        runner = self._connected(id)
        if runner.shutdown_reason:
            reason = clients.shutdown_reason(runner)  # it is on its way
        else:
            _log(LogId.API_SHUTDOWN, client=id, reason=reason)
            runner.close(320, f"{clients.FORCED}{reason}")
        return _json(request, {"status": "shutdown_initiated", "proxy_id": id, "reason": reason}, 202)

    @app.route("/clients/<string:id>/probe", methods=["GET"])
    def probe(self, request: IRequest, id: str) -> Any:
        """What passes between one of them and the upstreams, as events."""
        Query(_args(request), [])
        stream = probe(self._process, id, lambda: self._open_stream(request))
        if stream is None:
            raise _unknown(id)
        return _finished(request, stream)

    # Upstreams and configuration

    @app.route("/upstreams", methods=["GET"])
    async def upstreams(self, request: IRequest) -> bytes:
        """What is behind."""
        Query(_args(request), [])
        return _json(request, await upstreams.listing(self._process, self._reactor))

    @app.route("/config", methods=["GET"])
    def config(self, request: IRequest) -> bytes:
        """The running configuration."""
        Query(_args(request), [])
        request.setHeader(b"ETag", f'"{self._process.config_hash}"'.encode())
        return _json(request, self._config.current())

    @app.route("/config", methods=["PUT"])
    async def replace_config(self, request: IRequest) -> bytes:
        """Another one."""
        Query(_args(request), [])
        content = await self._config.replace(*_body(request), _header(request, b"If-Match"))
        return _json(request, content)

    @app.route("/config/diff", methods=["POST"])
    async def compare_config(self, request: IRequest) -> bytes:
        """What another one would change."""
        Query(_args(request), [])
        text = await self._config.difference(*_body(request))
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return text.encode(errors="backslashreplace")

    @app.route("/config/reload", methods=["POST"])
    async def reload_config(self, request: IRequest) -> bytes:
        """The one in the file."""
        Query(_args(request), [])
        return _json(request, await self._config.reload())

    # Errors

    @app.handle_errors(Refused)
    def refused(self, request: IRequest, failure: Failure) -> None:
        """A call said no."""
        request.refuse(failure.value)  # type: ignore[attr-defined]  # an AdminRequest

    @app.handle_errors(HTTPException)
    def not_a_call(self, request: IRequest, failure: Failure) -> None:
        """There is no such call."""
        error: Any = failure.value
        path = request.path.decode(errors="replace")[:200]
        if isinstance(error, MethodNotAllowed):
            allowed = sorted(error.valid_methods or [])
            method = request.method.decode(errors="replace")[:20]
            refused = Refused(
                405, f"{method} is not for {path}, only {', '.join(allowed)}", headers={"Allow": ", ".join(allowed)}
            )
        elif isinstance(error, NotFound | RequestRedirect):
            refused = Refused(404, f"there is nothing at {path}; / names what there is")
        else:
            refused = Refused(error.code or 400, error.name)
        request.refuse(refused)  # type: ignore[attr-defined]

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> None:
        """A fault of ours."""
        request.fail(failure)  # type: ignore[attr-defined]  # an AdminRequest

    def _connected(self, id: str) -> Any:
        runner = self._process.sessions.get(id)
        if runner is None:
            raise _unknown(id)
        return runner

    def _open_stream(self, request: IRequest) -> EventStream:
        if len(self._streams) >= STREAMS:
            raise Refused(503, f"{STREAMS} streams of events are open already", headers={"Retry-After": "10"})
        stream = EventStream(request, self._reactor)
        self._streams.add(stream)
        stream.when_over(lambda: self._streams.discard(stream))
        return stream


def _unknown(id: str) -> Refused:
    return Refused(404, f"no client {id[:100]!r} is connected")


def _reason(text: str) -> str:
    if not text.isprintable():
        raise Refused(400, "reason: expected printable characters only")
    if len(text.encode(errors="replace")) > REASON_LIMIT:
        raise Refused(400, f"reason: expected at most {REASON_LIMIT} octets")
    return text


def _finished(request: IRequest, stream: EventStream) -> Deferred[bytes] | bytes:
    """The stream's end; at once for those who want its head only."""
    if request.method == b"HEAD":
        stream.end()
    return stream.finished


def _args(request: IRequest) -> dict[bytes, Sequence[bytes]]:
    found: dict[bytes, Sequence[bytes]] = request.args
    return found


def _header(request: IRequest, name: bytes) -> str:
    value: bytes | None = request.getHeader(name)
    return (value or b"").decode("latin-1")


def _body(request: IRequest) -> tuple[bytes, str]:
    return request.content.read(), _header(request, b"Content-Type")


def _json(request: IRequest, content: Any, status: int = 200) -> bytes:
    octets = json.dumps(content, indent=2 if status == 200 else None).encode() + b"\n"
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(octets))
    return octets
