"""The fixtures themselves: nodes answer, freeze, restart with their data, and nothing outlives the process.

Covered: both shared nodes, own configuration, ctl, virtual hosts, pause/kill/restart, clean-up after SIGKILL.
Not covered: clusters (``cluster/test_fixture.py``).
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pika
import pytest

from tests.rabbitmq import NodeFactory
from trabbits.testing.processes import ChildProcess, wait_until
from trabbits.testing.rabbitmq import RabbitNode, shake_hands


def connect(node: RabbitNode, vhost: str = "/") -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(node.url_of(vhost)))


def round_trip(node: RabbitNode, vhost: str) -> bytes:
    connection = connect(node, vhost)
    channel = connection.channel()
    channel.queue_declare("greetings")
    channel.basic_publish("", "greetings", node.name.encode())
    _, _, body = channel.basic_get("greetings", auto_ack=True)
    connection.close()
    return body or b""


def test_two_nodes_are_separate_brokers(rabbit_a: RabbitNode, rabbit_b: RabbitNode, vhost: str) -> None:
    """The same queue name holds different messages on the two nodes."""
    assert round_trip(rabbit_a, vhost) == rabbit_a.name.encode()
    assert round_trip(rabbit_b, vhost) == rabbit_b.name.encode()


def test_virtual_host_is_fresh(rabbit_a: RabbitNode, vhost: str) -> None:
    """A test's virtual host holds no queues, and the HTTP API sees what is declared in it at once."""
    assert rabbit_a.management is not None
    assert rabbit_a.management.queues(vhost) == []
    connection = connect(rabbit_a, vhost)
    connection.channel().queue_declare("one", durable=True, arguments={"x-expires": 60000})
    queue = rabbit_a.management.queue(vhost, "one")
    assert queue is not None
    assert (queue["durable"], queue["arguments"]) == (True, {"x-expires": 60000})
    assert rabbit_a.management.queue(vhost, "two") is None
    connection.close()


def test_connections_are_listed_and_closed(rabbit_a: RabbitNode, vhost: str) -> None:
    """The HTTP API shows the client's properties and closes its connection with 320."""
    management = rabbit_a.management
    assert management is not None
    parameters = pika.URLParameters(rabbit_a.url_of(vhost))
    parameters.client_properties = {"connection_name": "somebody"}
    connection = pika.BlockingConnection(parameters)
    (item,) = management.wait_for(lambda m: m.connections(vhost))
    assert item["client_properties"]["connection_name"] == "somebody"
    management.close_connection(item["name"])
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        connection.process_data_events(time_limit=10)
    assert caught.value.reply_code == 320


def test_rabbitmqctl(rabbit_b: RabbitNode) -> None:
    """ctl() speaks to the node and raises what rabbitmqctl complains about."""
    assert "guest" in rabbit_b.ctl("list_users")
    with pytest.raises(RuntimeError, match="nobody"):
        rabbit_b.ctl("delete_user", "nobody")


def test_own_node_pauses_and_keeps_its_data(rabbit_node: NodeFactory) -> None:
    """A node of one's own has its configuration, can be frozen, and keeps durable data over a restart."""
    node = rabbit_node("small", config={"frame_max": 8192}, plugins=())
    connection = connect(node)
    assert connection._impl.params.frame_max == 8192
    channel = connection.channel()
    channel.queue_declare("kept", durable=True)
    channel.basic_publish("", "kept", b"still here", pika.BasicProperties(delivery_mode=2))
    connection.close()

    node.pause()
    with pytest.raises(OSError):
        shake_hands("127.0.0.1", node.port, timeout=0.3)
    node.resume()

    port = node.port
    node.restart()
    assert node.port == port
    connection = connect(node)
    assert connection.channel().basic_get("kept", auto_ack=True)[2] == b"still here"
    connection.close()

    node.kill()
    assert not node.running
    with pytest.raises(OSError):
        shake_hands("127.0.0.1", node.port, timeout=0.3)


OWNER = """
import os, sys
from trabbits.testing.rabbitmq import RabbitNode
node = RabbitNode("orphan", plugins=())
node.start()
print(node._process.pid, node.port, node.folder, os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.mark.broker
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_its_owner(number: int) -> None:
    """When the process that started a node is killed, the node and its files go, too."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    node_pid, port, folder, _ = owner.stdout.readline().split()
    assert Path(folder).exists()
    owner.send_signal(number)
    owner.communicate(timeout=20)
    wait_until(lambda: not alive(int(node_pid)) and not Path(folder).exists(), 20, "node and files are gone")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(port)), 1)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie that its new parent has not collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_child_that_ignores_sigterm_is_killed() -> None:
    """end() returns in time, whatever the child thinks of SIGTERM."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    child = ChildProcess([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.popen.stdout is not None
    child.popen.stdout.readline()
    assert child.end(timeout=0.2) == -signal.SIGKILL
