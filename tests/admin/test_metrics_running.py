"""Metrics of real proxies: what clients do in front of RabbitMQ shows, and the options of the command line.

Covered: counting end to end, reloads, stopping, ports.  Not covered: every number (test_metrics.py).
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pika
import pika.exceptions
import pytest

from tests.admin.metrics_doubles import Scraped
from tests.contract.target import fan_config, parameters, plain_config, unique
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = {"upstreams": [{"name": "far", "address": "[::1]:1"}]}


def page_of(proxy: TrabbitsProcess) -> Scraped:
    """A scrape of this proxy."""
    port = proxy.wait_for_log(event="metrics_listening")["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return Scraped(answer.read().decode())


def eventually_page(proxy: TrabbitsProcess, check: Callable[[Scraped], None]) -> Scraped:
    """The first scrape that passes the check."""

    def probe() -> Scraped:
        page = page_of(proxy)
        check(page)
        return page

    return eventually(probe, 10)


def test_what_clients_do_over_two_upstreams(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, vhost: str
) -> None:
    """Messages, what is in flight, links, errors and departed clients, each where it belongs."""
    proxy = trabbits(fan_config(rabbit_a, rabbit_b))
    a, b = {"upstream": "a"}, {"upstream": "b"}
    before = page_of(proxy)
    assert before["trabbits_client_connections_total"] == 0
    assert before["trabbits_upstream_healthy_nodes", a] == 1

    queue = unique("metrics")
    connection = pika.BlockingConnection(parameters(proxy, vhost))
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.exchange_declare("metrics", "topic")
    channel.queue_bind(queue, "metrics", "#")
    channel.confirm_delivery()
    for _ in range(5):
        channel.basic_publish("metrics", "x", b"to a")
    for _ in range(3):
        channel.basic_publish("metrics", "b.x", b"to b")
    got: list[int] = []
    channel.basic_consume(queue, lambda _, method, __, ___: got.append(method.delivery_tag))
    while len(got) < 8:
        connection.process_data_events(0.1)
    channel.basic_ack(got[0])
    channel.queue_declare(queue, passive=True)  # answered when the ack has passed
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        connection.channel().queue_declare(unique("missing"), passive=True)

    page = page_of(proxy)
    assert page["trabbits_client_connections"] == 1
    assert page["trabbits_client_consumers"] == 1
    assert page["trabbits_client_channels"] == 1
    assert page["trabbits_upstream_publishes_total", a] == 5
    assert page["trabbits_upstream_publishes_total", b] == 3
    assert page["trabbits_upstream_deliveries_total", a] == 5
    assert page["trabbits_upstream_deliveries_total", b] == 3
    in_flight = [page["trabbits_upstream_unacknowledged_messages", each] for each in (a, b)]
    assert sum(in_flight) == 7
    assert page["trabbits_upstream_unconfirmed_messages", a] == 0
    assert page["trabbits_processed_messages_total", {"method": "Basic.Publish"}] == 8
    assert page["trabbits_processed_messages_total", {"method": "Basic.Deliver"}] == 8
    assert page["trabbits_processed_messages_total", {"method": "Connection.OpenOk"}] == 1
    assert page["trabbits_errored_messages_total", {"method": "Queue.Declare"}] == 1
    assert page["trabbits_client_received_bytes_total"] > 8 * len(b"to a")
    assert page["trabbits_client_sent_frames_total"] > 3 * 8
    for node in (rabbit_a, rabbit_b):
        addr = {"addr": node.address}
        assert page["trabbits_upstream_connections", addr] == 1
        assert page["trabbits_upstream_connections_total", addr] == 1
        assert page["trabbits_upstream_connection_errors_total", addr] == 0
    assert page["trabbits_upstream_connect_seconds_count", a] == 1
    assert 0 < page["trabbits_upstream_connect_seconds_sum", a] < 10
    assert page["trabbits_reactor_lag_seconds_count"] >= 0
    assert page["trabbits_logged_events_total", {"event": "client_opened"}] == 1

    connection.close()

    def departed(page: Scraped) -> None:
        assert page["trabbits_client_connections"] == 0
        assert page["trabbits_upstream_connections", {"addr": rabbit_a.address}] == 0

    page = eventually_page(proxy, departed)
    assert page["trabbits_client_connections_total"] == 1
    assert page["trabbits_client_connection_errors_total"] == 0
    assert page["trabbits_upstream_publishes_total", a] == 5
    assert page["trabbits_upstream_unacknowledged_messages", a] == 0
    assert page["trabbits_processed_messages_total", {"method": "Connection.Close"}] == 1


def test_reloads_and_clients_that_vanish(trabbits: ProxyFactory, rabbit_a: RabbitNode, vhost: str) -> None:
    """What became of each configuration; a client without a farewell; the last scrape while the process stops."""
    proxy = trabbits(plain_config(rabbit_a, graceful_shutdown={"shutdown_timeout": "30s"}))
    first = page_of(proxy)
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log(event="config_unchanged")
    proxy.config_path.write_text("{")
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log(event="config_refused")
    config = plain_config(rabbit_a, graceful_shutdown={"shutdown_timeout": "30s"})
    config["upstreams"][0]["name"] = "renamed"
    proxy.write_config(config)
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log(event="config_reloaded")
    page = page_of(proxy)
    for result in ("changed", "unchanged", "refused"):
        assert page["trabbits_config_reloads_total", {"result": result}] == 1
    assert page.labels("trabbits_config_info") != first.labels("trabbits_config_info")
    assert page.labels("trabbits_upstream_healthy_nodes") == [{"upstream": "renamed"}]
    assert page["trabbits_logger_stats_total", {"level": "error"}] == 1

    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"AMQP\x00\x00\x09\x01")
        assert client.recv(1) == b"\x01"
    connection = pika.BlockingConnection(parameters(proxy, vhost))

    def vanished(page: Scraped) -> None:
        assert page["trabbits_client_connection_errors_total"] == 1

    assert eventually_page(proxy, vanished)["trabbits_stopping"] == 0
    proxy.send_signal(signal.SIGTERM)
    proxy.wait_for_log(event="stopping")
    page = page_of(proxy)
    assert page["trabbits_stopping"] == 1
    assert page["trabbits_client_connections"] == 1
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connection.process_data_events(10)
    assert proxy.wait() == 0


def test_a_node_that_does_not_work(trabbits: ProxyFactory) -> None:
    proxy = trabbits(NOWHERE)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(parameters(proxy))

    def failed(page: Scraped) -> None:
        assert page["trabbits_client_connections"] == 0
        assert page["trabbits_client_connections_total"] > 0

    page = eventually_page(proxy, failed)
    tries = page["trabbits_client_connections_total"]
    assert page["trabbits_client_connection_errors_total"] == tries
    assert page["trabbits_upstream_connection_attempts_total", {"addr": "[::1]:1"}] == tries
    assert page["trabbits_upstream_connection_errors_total", {"addr": "[::1]:1"}] == tries
    assert page["trabbits_upstream_connections_total", {"addr": "[::1]:1"}] == 0
    assert page["trabbits_upstream_suspect_nodes", {"upstream": "far"}] == 1


def test_two_processes_on_one_port_for_clients(trabbits: ProxyFactory) -> None:
    """The second needs a metrics port of its own, and says so when it has none."""
    first = trabbits(NOWHERE)
    taken = first.wait_for_log(event="metrics_listening")["port"]
    second = trabbits(NOWHERE, ["--port", str(first.port), "--metrics-port", str(taken)], start=False).spawn()
    assert second.wait() == 1
    assert f"port {taken} of every address: Address already in use" in second.log_text
    assert "--metrics-port" in second.log_text
    assert second.find_logs(event="listening") == []
    third = trabbits(NOWHERE, ["--port", str(first.port)])
    assert page_of(third)["trabbits_client_connections"] == 0


def test_no_metrics(trabbits: ProxyFactory) -> None:
    proxy = trabbits(NOWHERE, ["--no-metrics"])
    assert proxy.terminate() == 0
    assert proxy.find_logs(event="metrics_listening") == []


def test_metrics_are_where_clients_are(trabbits: ProxyFactory) -> None:
    """`--host` is for both."""
    proxy = trabbits(NOWHERE, ["--host", "::1"])
    said = proxy.wait_for_log(event="metrics_listening")
    assert said["address"] == f"[::1]:{said['port']}"
    with urllib.request.urlopen(f"http://{said['address']}/", timeout=10) as answer:
        assert b"/metrics" in answer.read()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{said['port']}/", timeout=10)


@pytest.mark.parametrize(("options", "expected"), [(["--metrics-port", "0"], 1), (["--no-metrics"], 0)])
def test_twistd(tmp_path: Path, options: list[str], expected: int) -> None:
    """The same options, the same service."""
    command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile="]
    api_socket = ["--api-socket", str(tmp_path / "api.sock")]
    with subprocess.Popen(
        [*command, "trabbits", "--port", "0", "--log-format", "json", *api_socket, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line)["event"])
            if events[-1] == "listening":
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert events.count("metrics_listening") == expected
