"""`trabbits manage` against a running trabbits with RabbitMQ behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingConnection

from tests.cli.samples import manage as run_manage
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.trabbits_process import TrabbitsProcess


@pytest.fixture
def proxy(trabbits: ProxyFactory, rabbit_a: RabbitNode) -> TrabbitsProcess:
    return trabbits({"upstreams": [{"name": "primary", "address": rabbit_a.address}]})


@pytest.fixture
def connection(proxy: TrabbitsProcess, vhost: str) -> Iterator[BlockingConnection]:
    opened = pika.BlockingConnection(pika.URLParameters(proxy.url(vhost)))
    yield opened
    if opened.is_open:
        opened.close()


def manage(proxy: TrabbitsProcess, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    done = run_manage(proxy.api_socket.parent, *arguments, stdin=stdin)
    return done.returncode, done.stdout, done.stderr


def test_a_client_from_its_list_to_its_end(proxy: TrabbitsProcess, connection: BlockingConnection, vhost: str) -> None:
    """It is listed, shown, probed while it works, shut down with a reason, and remembered after it has left."""
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"the body is a secret")

    status, listed, _ = manage(proxy, "clients", "list", "--json")
    (entry,) = json.loads(listed)
    assert (status, entry["user"], entry["virtual_host"], entry["status"]) == (0, "guest", vhost, "active")
    assert entry["id"] in manage(proxy, "clients")[1]

    status, shown, errors = manage(proxy, "clients", "info", entry["id"].removeprefix("proxy-")[:6])
    assert (status, errors) == (0, "")
    for words in (["channels", "1"], ["Queue.Declare", "1"], ["primary"], ["product", "Pika"]):
        assert any(line.split()[: len(words)] == words for line in shown.splitlines()), shown

    status, told, _ = manage(proxy, "clients", "shutdown", entry["id"], "--reason", "over there is more room")
    assert (status, told) == (0, f"{entry['id']} is asked to leave: over there is more room\n")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        while True:
            connection.process_data_events(time_limit=10)
    assert closed.value.reply_code == 320
    assert "over there is more room" in closed.value.reply_text

    status, probed, _ = manage(proxy, "clients", "probe", entry["id"], "--format", "json")
    events = [json.loads(line) for line in probed.splitlines()]
    assert status == 0
    assert events[-1] == {"type": "proxy_ended"}
    assert {"Connection.StartOk", "Queue.Declare", "Basic.Publish", "Connection.Close"} <= {
        event.get("method") for event in events
    }
    assert "secret" not in probed
    assert "Basic.Publish" in manage(proxy, "clients", "probe", entry["id"])[1]
    assert manage(proxy, "clients", "info", entry["id"])[0] == 1


def test_the_configuration_compared_replaced_and_reloaded(proxy: TrabbitsProcess) -> None:
    status, text, _ = manage(proxy, "config", "get")
    current = json.loads(text)
    assert status == 0
    # What is shown can be given back, masked passwords included.
    assert manage(proxy, "config", "diff", "-", stdin=text) == (0, "", "")
    changed = json.dumps({**current, "frame_max": 65536})
    status, shown, _ = manage(proxy, "config", "diff", "-", stdin=changed)
    assert status == 1
    assert any(line.startswith("+") and "65536" in line for line in shown.splitlines())
    assert json.loads(manage(proxy, "config", "get")[1]) == current

    assert manage(proxy, "config", "put", "-", stdin=changed)[0] == 0
    assert json.loads(manage(proxy, "config", "get")[1])["frame_max"] == 65536
    assert manage(proxy, "config", "reload")[0] == 0
    assert json.loads(manage(proxy, "config", "get")[1]) == current

    for command in ("put", "diff"):
        status, _, errors = manage(proxy, "config", command, "-", stdin='{"upstreams": []}')
        assert status == 2
        assert "upstreams: expected" in errors
    jsonnet = f"local base = {json.dumps(current)}; base {{ frame_max: 4096 * 8 }}"
    assert manage(proxy, "config", "put", "--format", "jsonnet", "-", stdin=jsonnet)[0] == 0
    assert json.loads(manage(proxy, "config", "get")[1])["frame_max"] == 32768


def test_a_reload_without_a_file(trabbits: ProxyFactory) -> None:
    status, _, errors = manage(trabbits(None), "config", "reload")
    assert (status, errors.startswith("trabbits: error: ")) == (1, True)


def test_upstreams(proxy: TrabbitsProcess, connection: BlockingConnection, rabbit_a: RabbitNode) -> None:
    status, shown, _ = manage(proxy, "upstreams")
    assert status == 0
    _, line = shown.splitlines()
    assert line.split()[:5] == ["primary", "yes", rabbit_a.address, "healthy", "1"]
    assert json.loads(manage(proxy, "upstreams", "--json")[1])[0]["name"] == "primary"


def test_a_trabbits_that_has_stopped(proxy: TrabbitsProcess) -> None:
    assert proxy.terminate() == 0
    status, _, errors = manage(proxy, "clients")
    assert status == 1
    assert f"{proxy.api_socket}: no such socket" in errors


def test_a_file_by_its_name(proxy: TrabbitsProcess, tmp_path: Path) -> None:
    """A configuration in a file, by its name."""
    path = tmp_path / "new.json"
    path.write_text(proxy.config_path.read_text())
    assert manage(proxy, "config", "diff", str(path)) == (0, "", "")
