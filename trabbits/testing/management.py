"""A small client of RabbitMQ's HTTP API, enough for tests: virtual hosts, users, connections, queues.

What it must not know: how nodes are started (rabbitmq.py), Twisted, pytest.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

Item = dict[str, Any]


class Management:
    """RabbitMQ's HTTP API at `url`, as an administrator. Every call raises OSError when it fails.

    Numbers (messages, rates, the list of connections) come from statistics that the node gathers once per second:
    use wait_for() on them. What a queue or virtual host *is* (that it exists, its arguments) is exact at once.
    """

    def __init__(self, url: str, user: str = "guest", password: str = "guest", timeout: float = 10.0) -> None:
        self.url = url
        self._timeout = timeout
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def call(self, method: str, *path: str, body: object = None, query: str = "") -> Any:
        """One request to /api/<path>, each part quoted; the decoded answer, None when it has no body."""
        url = f"{self.url}/api/{'/'.join(quote(part, '') for part in path)}{query}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("Authorization", self._authorization)
        request.add_header("Content-Type", "application/json")
        with _opener.open(request, timeout=self._timeout) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def ping(self) -> None:
        """Raises OSError while the API does not answer."""
        self.call("GET", "whoami")

    def add_vhost(self, name: str, user: str = "guest") -> None:
        """Create a virtual host and allow `user` everything in it."""
        self.call("PUT", "vhosts", name, body={})
        self.set_permissions(name, user)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with everything in it; its connections are closed by the node."""
        self.call("DELETE", "vhosts", name)

    def add_user(self, name: str, password: str, tags: str = "") -> None:
        """Create a user or change its password."""
        self.call("PUT", "users", name, body={"password": password, "tags": tags})

    def delete_user(self, name: str) -> None:
        """Delete a user."""
        self.call("DELETE", "users", name)

    def set_permissions(
        self, vhost: str, user: str, configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        """Give a user permissions (regular expressions) in a virtual host."""
        body = {"configure": configure, "write": write, "read": read}
        self.call("PUT", "permissions", vhost, user, body=body)

    def connections(self, vhost: str | None = None) -> list[Item]:
        """The open AMQP connections, with `client_properties`, `user`, `vhost`, `name`, `channels`, ..."""
        path = ("connections",) if vhost is None else ("vhosts", vhost, "connections")
        items: list[Item] = self.call("GET", *path)
        return [item for item in items if "client_properties" in item]  # others are half open or half closed

    def close_connection(self, name: str, reason: str = "closed by a test") -> None:
        """Let the node close a connection (the client sees connection.close 320)."""
        request_path = f"{self.url}/api/connections/{quote(name, '')}"
        request = urllib.request.Request(request_path, method="DELETE")
        request.add_header("Authorization", self._authorization)
        request.add_header("X-Reason", reason)
        with _opener.open(request, timeout=self._timeout):
            pass

    def queues(self, vhost: str) -> list[Item]:
        """The queues of a virtual host."""
        items: list[Item] = self.call("GET", "queues", vhost)
        return items

    def queue(self, vhost: str, name: str) -> Item | None:
        """One queue with its `durable`, `auto_delete`, `exclusive`, `arguments`, or None when it does not exist."""
        return self._get_or_none("queues", vhost, name)

    def delete_queue(self, vhost: str, name: str) -> None:
        """Delete a queue, whatever it holds."""
        self.call("DELETE", "queues", vhost, name)

    def exchange(self, vhost: str, name: str) -> Item | None:
        """One exchange, or None when it does not exist."""
        return self._get_or_none("exchanges", vhost, name)

    def bindings(self, vhost: str, queue: str) -> list[Item]:
        """The bindings of a queue, the implicit one to the default exchange included."""
        items: list[Item] = self.call("GET", "queues", vhost, queue, "bindings")
        return items

    def wait_for(self, probe: Callable[[Management], Any], timeout: float = 15.0, what: str = "") -> Any:
        """Call `probe(self)` until it gives something true and return that; TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = probe(self)
            if found:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout:g} s on {self.url}: {what or probe} (last: {found!r})")
            time.sleep(0.1)

    def _get_or_none(self, *path: str) -> Item | None:
        try:
            item: Item = self.call("GET", *path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return item


# The environment may name an HTTP proxy; a node on this machine is never behind it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
