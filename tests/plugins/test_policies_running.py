"""The built-in connection policies in a running trabbits, in front of a real broker and with a real client library."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import AMQPConnectionError

from tests.contract.target import HOST, parameters, plain_config, unique
from tests.faults.conftest import running
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import eventually
from trabbits.testing.trabbits_process import TrabbitsProcess


class Service(BaseHTTPRequestHandler):
    """Refuses clients that say that they are evil, and does not answer for those of which it knows nothing."""

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if question["properties"].get("product") == "unknown":
            self.rfile.read(1)  # until trabbits hangs up
            return
        evil = question["properties"].get("product") == "evil"
        self.send_response(403 if evil else 204)
        self.end_headers()
        if evil:
            self.wfile.write(b"nobody of this kind")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer((HOST, 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}/"
        server.shutdown()
        thread.join()


def proxy_with(node: RabbitNode, *policies: dict[str, Any], **config: Any) -> Iterator[TrabbitsProcess]:
    yield from running(TrabbitsProcess(plain_config(node, policies=list(policies), **config), ["--debug"]))


@pytest.fixture
def proxy(request: pytest.FixtureRequest, rabbit_a: RabbitNode) -> Iterator[TrabbitsProcess]:
    """trabbits with the policy that the test is parametrized with."""
    yield from proxy_with(rabbit_a, request.param)


def refused(proxy: TrabbitsProcess, text: str, product: str = "fine") -> None:
    """A client is refused with this: code and text as pika shows them."""
    seen = len(proxy.logs)
    with pytest.raises(AMQPConnectionError, match=text):
        BlockingConnection(parameters(proxy, client_properties={"product": product}))
    proxy.wait_for_log(event="policy_refused", after=seen)


def only(plugin: str, **options: Any) -> Any:
    return pytest.mark.parametrize("proxy", [{"plugin": plugin, "options": options}], indirect=True, ids=[plugin])


@pytest.mark.parametrize(
    "proxy",
    [{"plugin": "max_connections", "options": each} for each in ({"total": 2}, {"virtual_hosts": {"/": 2}})],
    indirect=True,
    ids=["total", "virtual host"],
)
def test_max_connections(proxy: TrabbitsProcess) -> None:
    first, second = (BlockingConnection(parameters(proxy)) for _ in range(2))
    refused(proxy, r"\(530\) .*connection limit \(2\)")
    first.close()

    def comes_in() -> bool:
        try:
            BlockingConnection(parameters(proxy)).close()
        except AMQPConnectionError:
            return False
        return True

    # The proxy hears of the end of a connection a moment after the client.
    eventually(comes_in)
    second.close()


@only("connection_rate", virtual_hosts={"/": {"rate": 0.001, "burst": 2}})
def test_connection_rate(proxy: TrabbitsProcess) -> None:
    for _ in range(2):
        BlockingConnection(parameters(proxy)).close()
    refused(proxy, r"\(320\) .*more than 0.001 connections a second")


@only("data_rate", per_session=300_000, burst=0.5)
def test_data_rate(proxy: TrabbitsProcess) -> None:
    """A megabyte takes its three seconds, nothing is lost, and a client beside it is not slower."""
    with BlockingConnection(parameters(proxy)) as connection, BlockingConnection(parameters(proxy)) as other:
        channel, queue = connection.channel(), unique("slow")
        channel.queue_declare(queue, exclusive=True)
        channel.confirm_delivery()
        begin = time.monotonic()
        for _ in range(10):
            channel.basic_publish("", queue, b"x" * 100_000)
        assert time.monotonic() - begin > 2
        begin = time.monotonic()
        other.channel().close()
        assert time.monotonic() - begin < 2
        assert channel.queue_declare(queue, passive=True).method.message_count == 10


@only("data_rate", virtual_hosts={"/": 300_000}, burst=0.5)
def test_data_rate_of_a_virtual_host(proxy: TrabbitsProcess) -> None:
    """What its clients send together counts."""
    with BlockingConnection(parameters(proxy)) as first, BlockingConnection(parameters(proxy)) as second:
        queue = unique("slow")
        channels = [connection.channel() for connection in (first, second)]
        channels[0].queue_declare(queue, auto_delete=True)
        for channel in channels:
            channel.confirm_delivery()
        begin = time.monotonic()
        for number in range(6):
            channels[number % 2].basic_publish("", queue, b"x" * 100_000)
        assert time.monotonic() - begin > 1
        channels[0].queue_delete(queue)


def test_http_auth(service: str, rabbit_a: RabbitNode) -> None:
    """A service that does not answer lets nobody in."""
    for proxy in proxy_with(rabbit_a, {"plugin": "http_auth", "options": {"url": service, "timeout": 0.5}}):
        BlockingConnection(parameters(proxy)).close()
        refused(proxy, r"\(403\) .*ACCESS_REFUSED - nobody of this kind", "evil")
        refused(proxy, r"\(541\) .*the authorization service did not answer properly", "unknown")


def test_policies_that_only_tell(service: str, rabbit_a: RabbitNode) -> None:
    """Everybody comes in and sends as fast as ever; the log says what there is to say."""
    policies = [
        {"plugin": "connection_rate", "options": {"rate": 0.001, "burst": 1, "alarm_only": True}},
        {"plugin": "data_rate", "options": {"per_session": 1000, "alarm_only": True}},
        {"plugin": "http_auth", "options": {"url": service, "timeout": 0.5, "fail_open": True}},
    ]
    for proxy in proxy_with(rabbit_a, *policies):
        BlockingConnection(parameters(proxy)).close()
        with BlockingConnection(parameters(proxy, client_properties={"product": "unknown"})) as connection:
            channel, queue = connection.channel(), unique("fast")
            channel.queue_declare(queue, exclusive=True)
            channel.confirm_delivery()
            begin = time.monotonic()
            channel.basic_publish("", queue, b"x" * 100_000)
            assert time.monotonic() - begin < 20, "at 1000 octets a second it would be 100"
        for beginning in (
            "connection_rate: more than 0.001 connections a second to vhost '/'; alarm_only, so guest from ",
            "data_rate: session ",
            f"http_auth: {service} failed, clients are let in: ",
        ):
            told = proxy.wait_for_log(event="library", message=lambda text: text.startswith(beginning))  # noqa: B023
            assert told["level"] == "warn"


def test_several_in_turn(service: str, rabbit_a: RabbitNode) -> None:
    """What one refuses makes no room less at those before it."""
    policies = [
        {"plugin": "max_connections", "options": {"per_user": 1}},
        {"plugin": "http_auth", "options": {"url": service}},
    ]
    for proxy in proxy_with(rabbit_a, *policies):
        for _ in range(3):
            refused(proxy, r"\(403\)", "evil")
        with BlockingConnection(parameters(proxy)):
            refused(proxy, r"\(530\)")
