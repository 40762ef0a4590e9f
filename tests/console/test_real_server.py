"""The console before a real trabbits with RabbitMQ behind it, started by its command.

Covered: that the views get along with the admin API as it is.  Not covered here: everything else (test_terminal.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pika
import pika.exceptions
import pytest

from tests.console.terminal import ROOT, Tmux
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.trabbits_process import TrabbitsProcess


@pytest.fixture
def proxy(trabbits: ProxyFactory, rabbit_a: RabbitNode) -> TrabbitsProcess:
    return trabbits({"upstreams": [{"name": "primary", "address": rabbit_a.address}]})


@pytest.fixture
def client(proxy: TrabbitsProcess, vhost: str) -> Iterator[pika.BlockingConnection]:
    connection = pika.BlockingConnection(pika.URLParameters(proxy.url(vhost)))
    yield connection
    if connection.is_open:
        connection.close()


@pytest.fixture
def terminal(proxy: TrabbitsProcess) -> Iterator[Tmux]:
    command = [sys.executable, "-m", "trabbits", "manage", "--api-socket", str(proxy.api_socket), "clients"]
    with TemporaryDirectory(prefix="console-", dir="/tmp") as folder:
        terminal = Tmux(Path(folder), command, width=130, height=50, PYTHONPATH=str(ROOT))
        yield terminal
        terminal.close()


def test_every_view_of_a_real_client_and_its_end(
    terminal: Tmux, proxy: TrabbitsProcess, client: pika.BlockingConnection, vhost: str
) -> None:
    channel = client.channel()
    channel.queue_declare("", exclusive=True)
    terminal.wait("guest", vhost[:10], "active", "1 active of 1", "publishes/s")
    terminal.keys("Enter")
    terminal.wait("Queue.Declare", "1 channel, 0 consumers", "primary", "publisher_confirms", "pika")
    terminal.keys("p")
    terminal.wait("Queue.Declare", "c→t", "t→u", "live")
    channel.basic_publish("amq.topic", "eu.order.new", b"not shown")
    client.process_data_events(0)
    terminal.wait("Basic.Publish", "routing_key=eu.order.new", "!not shown")
    terminal.keys("l")
    terminal.wait("INFO", "TR102", "opened virtual host")
    terminal.keys("u")
    terminal.wait("primary  required", "healthy", "publishes 1 ")
    terminal.keys("q")
    terminal.wait("TR102")
    terminal.keys("q")
    terminal.wait("Basic.Publish", "? help")
    terminal.keys("K")
    terminal.wait("Shut down a client", "guest at virtual host")
    terminal.type("The test is over")
    terminal.keys("Enter")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        client.process_data_events(10)
    assert closed.value.reply_code == 320
    assert "The test is over" in closed.value.reply_text
    terminal.wait("The client has left.", "Connection.Close")
    terminal.keys("q")
    terminal.wait("This client has left")
    terminal.keys("q")
    terminal.wait("No clients are connected.")
    assert proxy.terminate() == 0
    terminal.wait("Is trabbits running?")
    terminal.keys("q")
    assert terminal.wait_for_end() == 0
