"""An admin API for tests of its clients: the shapes of docs/admin-api.md from canned data, over a real UNIX socket.

Every request is kept in `requests`; `answers` overrides what a call gives.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import define, field


@define
class Reply:
    """What to answer: a status, a body (bytes as they are, anything else as JSON) and headers."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(factory=dict)
    events: Iterator[bytes] | None = None


@define
class Request:
    """What came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class FakeApi:
    """Serves until close(); `address` is the path of a UNIX socket, or "" for TCP on a free port (then `url`)."""

    def __init__(self, path: Path | None) -> None:
        self.requests: list[Request] = []
        self.unread = False  # answer without reading the body
        self.answers: dict[tuple[str, str], Reply | Callable[[Request], Reply]] = {}
        self.clients: list[dict[str, Any]] = []
        self.details: dict[str, dict[str, Any]] = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                parts = urlsplit(self.path)
                body = b"" if api.unread else self.rfile.read(int(self.headers.get("Content-Length", "0")))
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, unquote(parts.path), query, headers, body)
                api.requests.append(request)
                reply = api.reply(request)
                self.close_connection = True
                octets = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                if reply.events is None:
                    self.send_header("Content-Length", str(len(octets)))
                    self.end_headers()
                    self.wfile.write(octets)
                    return
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for octets in reply.events:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(octets), octets))
                self.wfile.write(b"0\r\n\r\n")

            def do_GET(self) -> None:
                self.answer()

            def do_PUT(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def do_DELETE(self) -> None:
                self.answer()

            def address_string(self) -> str:
                return "local"

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
            daemon_threads = True
            address_family = socket.AF_INET if path is None else socket.AF_UNIX

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client went away, or the test broke the stream off

        self._server = Server(("127.0.0.1", 0) if path is None else str(path), Handler)  # type: ignore[arg-type]  # typeshed knows TCP only
        self.url = "" if path is not None else "http://{}:{}".format(*self._server.server_address[:2])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def reply(self, request: Request) -> Reply:
        canned = self.answers.get((request.method, request.path))
        if canned is not None:
            return canned(request) if callable(canned) else canned
        parts = request.path.strip("/").split("/")
        match (request.method, parts):
            case ("GET", ["clients"]):
                return self._listing(request.query)
            case ("GET", ["clients", id]) if id in self.details:
                return Reply(body=self.details[id])
            case ("DELETE", ["clients", id]) if id in self.details:
                reason = request.query.get("reason", "Closed by an administrator")
                return Reply(202, {"status": "shutdown_initiated", "proxy_id": id, "reason": reason})
        return Reply(404, {"error": f"nothing at {request.path}"})

    def _listing(self, query: Mapping[str, str]) -> Reply:
        found = [
            client
            for client in self.clients
            if any(
                query.get("q", "") in client[name]
                for name in ("id", "user", "virtual_host", "client_address", "client_banner")
            )
        ]
        sort = query.get("sort", "")
        if sort:
            found.sort(key=lambda client: client[sort.removeprefix("-")], reverse=sort.startswith("-"))
        offset, limit = int(query.get("offset", "0")), int(query.get("limit", "1000000"))
        return Reply(body=found[offset : offset + limit], headers={"X-Total-Count": str(len(found))})


def events(*objects: Mapping[str, Any]) -> Reply:
    """A stream of these, with a heartbeat in front and one event in several pieces."""
    octets = [b": alive\n\n", *(f"data: {json.dumps(event)}\n\n".encode() for event in objects)]

    def pieces() -> Iterator[bytes]:
        for each in octets:
            yield each[:7]
            yield each[7:]

    return Reply(headers={"Content-Type": "text/event-stream"}, events=pieces())
