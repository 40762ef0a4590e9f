"""An admin API with invented clients, for screens that no real broker gives: 10 000 clients, or always the same ones.

`State` answers requests; `FakeServer` serves it on a UNIX socket with threads of the standard library.  It can go away
and come back, freeze, and send events.
"""

from __future__ import annotations

import json
import os
import queue
import socketserver
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Json = dict[str, Any]

USERS = ("alice", "bob", "carol", "shipping-service", "grünwald")
HOSTS = ("/", "shop", "billing")
BANNERS = ("Linux/pika/1.3.2", "Java 17/RabbitMQ/5.21.0", "linux/bunny/2.23.0")


def rfc3339(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def invent_client(number: int, now: float) -> Json:
    """Always the same client for a number. The first has been there the longest: 2 h 5 min and some seconds."""
    methods, frames = 1_000 + number * 37 % 901, 3_000 + number * 91 % 5_003
    return {
        "id": f"proxy-{number * 0x9E3779B97F4A7C15 % 2**64:016x}",
        "client_address": f"10.0.{number // 250}.{number % 250 + 1}:{40000 + number}",
        "user": USERS[number % len(USERS)],
        "virtual_host": HOSTS[number % len(HOSTS)],
        "client_banner": BANNERS[number % len(BANNERS)],
        "connected_at": rfc3339(now - 7530 + number * 0.5),
        "status": "active",
        "shutdown_reason": "",
        "total_frames": frames,
        "total_methods": methods,
    }


def method_event(number: int, **fields: Any) -> Json:
    """A publish; its time is the number of milliseconds after nine o'clock."""
    return {
        "type": "method",
        "time": f"2026-05-04T09:00:{number // 1_000:02}.{number % 1_000:03}000Z",
        "direction": "c→t",
        "upstream": "",
        "channel": 1,
        "method": "Basic.Publish",
        "arguments": {"exchange": "orders", "routing_key": f"eu.order.{number}", "mandatory": False},
        **fields,
    }


def log_line(number: int, **fields: Any) -> Json:
    return {
        "time": f"2026-05-04T09:{number // 60 % 60:02}:{number % 60:02}.000Z",
        "level": "info",
        "id": "TR102",
        "event": "client_opened",
        "message": f"alice opened virtual host / from 10.0.0.7:{50000 + number} through primary",
        **fields,
    }


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class State:
    """What the server knows. Tests change it at will."""

    def __init__(self, clients: int = 0) -> None:
        now = time.time()
        self.clients: dict[str, Json] = {}
        for number in range(clients):
            client = invent_client(number, now)
            self.clients[client["id"]] = client
        self.version = "1.0.0"
        self.stats: Json = {"connections_total": 54_321, "received_frames": 0, "sent_frames": 0, "total_methods": 0}
        self.details: dict[str, Json] = {}
        self.upstreams: list[Json] = []
        self.events: dict[str, list[Json]] = {}
        self.logs: list[Json] = []
        #: (id, reason) of every DELETE.
        self.deleted: list[tuple[str, str]] = []
        #: (path, query) of every request.
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.listeners: dict[str, list[queue.SimpleQueue[Json | None]]] = {}
        self.lock = threading.RLock()

    @property
    def ids(self) -> list[str]:
        return list(self.clients)

    def answer(self, method: str, target: str) -> tuple[Any, int]:
        """The content and, for a listing, its total (otherwise -1)."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        with self.lock:
            self.requests.append((url.path, query))
            match [unquote(part) for part in url.path.split("/")[1:]]:
                case [""]:
                    return self._index(), -1
                case ["clients"]:
                    return self._listing(query)
                case ["clients", id]:
                    if id not in self.clients:
                        raise Refusal(404, f"there is no client {id}")
                    if method == "DELETE":
                        return self._delete(id, query.get("reason", "Closed by an administrator")), -1
                    return self._detail(id), -1
                case ["upstreams"]:
                    return self.upstreams, -1
        raise Refusal(404, "no such path")

    def send(self, path: str, event: Json | None) -> None:
        """An event for those who listen there (None: the end of the stream), and for those who come later."""
        with self.lock:
            if event is not None:
                (self.logs if path == "/logs" else self.events.setdefault(path, [])).append(event)
            for listener in self.listeners.get(path, []):
                listener.put(event)

    def listen(self, path: str) -> tuple[list[Json], queue.SimpleQueue[Json | None]]:
        with self.lock:
            if path != "/logs" and unquote(path.split("/")[2]) not in self.clients and path not in self.events:
                raise Refusal(404, f"there is no client {path.split('/')[2]}")
            listener: queue.SimpleQueue[Json | None] = queue.SimpleQueue()
            self.listeners.setdefault(path, []).append(listener)
            return list(self.logs if path == "/logs" else self.events.get(path, [])), listener

    def _index(self) -> Json:
        leaving = sum(client["status"] != "active" for client in self.clients.values())
        stats = {**self.stats, "active_clients": len(self.clients) - leaving, "shutting_down_clients": leaving}
        return {"version": self.version, "stats": stats}

    def _listing(self, query: Mapping[str, str]) -> tuple[list[Json], int]:
        text = query.get("q", "").lower()
        searched = ("id", "user", "virtual_host", "client_address", "client_banner")
        found = [
            client
            for client in self.clients.values()
            if not text or any(text in str(client[name]).lower() for name in searched)
        ]
        sort = query.get("sort", "connected_at")
        found.sort(key=lambda client: client[sort.removeprefix("-")], reverse=sort.startswith("-"))
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 1_000_000))
        return found[offset : offset + limit], len(found)

    def _detail(self, id: str) -> Json:
        client = self.clients[id]
        return {
            **{name: value for name, value in client.items() if not name.startswith("total_")},
            "client_properties": {
                "product": "pika",
                "version": "1.3.2",
                "platform": "Linux",
                "connection_name": "order import",
                "capabilities": {"basic.nack": True, "publisher_confirms": True, "connection.blocked": False},
            },
            "stats": {
                "started_at": client["connected_at"],
                "methods": {"Basic.Publish": 900, "Basic.Ack": 90, "Channel.Open": 3},
                "total_methods": client["total_methods"],
                "received_frames": client["total_frames"] - 1000,
                "sent_frames": 1000,
                "total_frames": client["total_frames"],
                "duration": 7530.0,
            },
            "channels": 3,
            "consumers": 1,
            "config_hash": "0123456789abcdef",
            "links": [
                {
                    "upstream": "primary",
                    "node": "10.1.1.1:5672",
                    "blocked": False,
                    "unacknowledged": 12,
                    "unconfirmed": 0,
                },
                {
                    "upstream": "archive",
                    "node": "10.1.2.1:5672",
                    "blocked": True,
                    "unacknowledged": 0,
                    "unconfirmed": 7,
                },
            ],
            **self.details.get(id, {}),
        }

    def _delete(self, id: str, reason: str) -> Json:
        self.deleted.append((id, reason))
        self.clients[id] |= {"status": "shutting_down", "shutdown_reason": reason}
        return {"status": "shutdown_initiated", "proxy_id": id, "reason": reason}


class _Request(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.thawed.wait()
        if path == "/logs" or path.endswith("/probe"):
            self._stream(path)
        else:
            self._answer("GET")

    def do_DELETE(self) -> None:
        self.server.thawed.wait()
        self._answer("DELETE")

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        try:
            content, total = self.server.state.answer(method, self.path)
            status = 202 if method == "DELETE" else 200
        except Refusal as refusal:
            content, total, status = {"error": str(refusal)}, -1, refusal.status
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if total >= 0:
            self.send_header("X-Total-Count", str(total))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, path: str) -> None:
        try:
            retained, listener = self.server.state.listen(path)
        except Refusal as refusal:
            self.send_error(refusal.status)
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.server.streams.append(self.connection)
        event: Json | None = None
        try:
            for event in retained:
                self._send(event)
            while event is None or event.get("type") != "proxy_ended":
                event = listener.get()
                if event is None:
                    return
                self._send(event)
        except OSError:
            pass  # who listened is gone

    def _send(self, event: Json) -> None:
        self.wfile.write(b": \r\ndata: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 50

    def __init__(self, path: str, state: State, thawed: threading.Event) -> None:
        self.state = state
        self.thawed = thawed
        self.streams: list[Any] = []
        super().__init__(path, _Request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle of an answer is none."""


class FakeServer:
    """Serves `state` at `path` from start() to stop(), as often as wanted."""

    def __init__(self, path: Path, state: State) -> None:
        self.path = path
        self.state = state
        self._thawed = threading.Event()
        self._thawed.set()
        self._server: _Server | None = None

    def start(self) -> FakeServer:
        self._server = _Server(str(self.path), self.state, self._thawed)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Go away: no socket, and streams break off."""
        self.thaw()
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        os.unlink(self.path)
        for stream in server.streams:
            try:
                stream.shutdown(2)
            except OSError:
                pass

    def freeze(self) -> None:
        """Accept connections and answer nothing."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()
