"""``trabbits demo`` as a process: what is printed, what clients and the API see, how it ends.

Covered: a pipe and a terminal, the demo's own traffic and users' clients, embedded brokers and a RabbitMQ, Ctrl-C and
SIGTERM, what keeps it from beginning.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pika
import pytest

from tests.demo.process import ROOT, TIMEOUT, TRABBITS, Start
from trabbits.testing.rabbitmq import RabbitNode

#: Seconds from the start of the process to its being ready; one on an idle machine, and this one may be busy.
READY_WITHIN = 30.0
SUMMARY = r"The demo has ended after .* s: (\d+) sent, (\d+) confirmed, (\d+) received, 0 lost\."


def test_traffic_is_visible_and_ctrl_c_loses_nothing(start_demo: Start, folder: Path) -> None:
    """Ready soon; six clients at work in `clients list`; at the end every message has arrived, and no file is left."""
    demo = start_demo()
    demo.wait_for("trabbits demo is ready")
    assert time.monotonic() - demo.begun < READY_WITHIN
    demo.wait_for(r"Ctrl-C ends the demo")
    assert list(folder.glob("trabbits-demo-*/config.json"))

    def methods() -> dict[str, int]:
        lines = demo.manage("clients", "list").splitlines()[1:]
        words = [re.split(r"  +", line) for line in lines]
        return {f"{each[1]} {each[4]}": int(each[-2]) for each in words}

    before = methods()
    assert sorted(name.split("/")[1] for name in before) == [
        f"{subject} {role}" for subject in ("invoices", "logs", "orders") for role in ("consumer", "publisher")
    ]
    after = methods()
    assert all(after[name] > count for name, count in before.items())
    assert demo.end() == 0
    summary = re.search(SUMMARY, demo.output)
    assert summary is not None, demo.output
    sent, confirmed, received = map(int, summary.groups())
    assert sent == confirmed == received > 0
    assert "\x1b" not in demo.output
    assert list(folder.iterdir()) == []


def test_on_a_terminal_the_picture_is_live(start_demo: Start, folder: Path) -> None:
    """It is drawn again in place, shows that a reload has moved the orders, and Ctrl-C leaves the last one."""
    demo = start_demo(terminal=True)
    demo.wait_for(r"orders\.#  *old .*\n")
    assert "\x1b[1mCLIENT" in demo.output
    (config,) = folder.glob("trabbits-demo-*/config.json")
    move = demo.wait_for(r"sed -i .*json\S*")[0]
    subprocess.run(["sh", "-c", re.sub(r"\x1b\[[0-9;]*m", "", move)], check=True)
    assert '"orders.#"' in config.read_text()
    demo.popen.send_signal(signal.SIGHUP)
    demo.wait_for(r"orders: moved from old to new")
    # What is under way may come twice when clients reconnect.
    demo.wait_for(r"orders\.#  *new .*\n")
    assert demo.end() == 0
    assert re.search(r"The demo has ended after .*, 0 lost\.", demo.output)
    # Up to where the picture begins, and from there on again.
    assert re.search(r"\x1b\[\d+F", demo.output)
    assert "Traceback" not in demo.output


def test_no_color(start_demo: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves out colors, and not the live picture."""
    monkeypatch.setenv("NO_COLOR", "1")
    demo = start_demo("--seconds=2.5", terminal=True)
    assert demo.end(None) == 0
    assert re.search(r"\x1b\[\d+F", demo.output)
    assert not re.search(r"\x1b\[[0-9;]*m", demo.output)


def test_without_traffic_a_client_of_the_users_is_alone(start_demo: Start) -> None:
    """It publishes to both brokers and receives from both; SIGTERM ends the demo as Ctrl-C does."""
    demo = start_demo("--no-traffic")
    with pika.BlockingConnection(pika.URLParameters(demo.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("mine", "topic")
        channel.queue_declare("mine")
        channel.queue_bind("mine", "mine", "#")
        for key in ("orders.new", "invoices.new"):
            channel.basic_publish("mine", key, key.encode(), mandatory=True)
        received = {channel.basic_get("mine", auto_ack=True)[2] for _ in range(2)}
        assert received == {b"orders.new", b"invoices.new"}
        clients = demo.manage("clients", "list").splitlines()[1:]
        assert len(clients) == 1
        assert "Pika" in clients[0]
    upstreams = demo.manage("upstreams").splitlines()[1:]
    # Published and delivered, before the last error.
    assert [re.split(r"  +", line)[-3:] for line in upstreams] == [["1", "1", "-"]] * 2
    assert demo.end(signal.SIGTERM) == 0
    assert re.search(r"The demo has ended after [\d.]+ s\.\n", demo.output)


def test_with_a_rabbitmq(start_demo: Start, rabbit_a: RabbitNode) -> None:
    """It takes the place of one embedded broker; nothing is lost, and nothing of the demo is left there."""

    api = rabbit_a.management
    assert api is not None

    def of_the_demo() -> list[str]:
        names = [item["name"] for item in [*api.queues("/"), *api.call("GET", "exchanges", "/")]]
        return [name for name in names if "trabbits.demo" in name]

    demo = start_demo(f"--upstream=old={rabbit_a.address}", "--seconds=3")
    demo.wait_for("trabbits demo is ready")
    assert of_the_demo()
    assert demo.end(None) == 0
    summary = re.search(SUMMARY, demo.output)
    assert summary is not None, demo.output
    assert len(set(summary.groups())) == 1
    assert of_the_demo() == []


def test_an_unreachable_upstream_is_told(start_demo: Start) -> None:
    """With the reason and without a traceback."""
    demo = start_demo("--upstream=new=127.0.0.1:1")
    assert demo.end(None) == 1
    assert demo.output == "trabbits: error: upstream 'new' (127.0.0.1:1) refused the TCP connection\n"


def test_a_taken_port_is_told(start_demo: Start, folder: Path) -> None:
    """With the option that names another one; although the kernel would let them share it."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        demo = start_demo(port=port)
        assert demo.end(None) == 1
    assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in demo.output
    assert "--port" in demo.output
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("other=localhost:5672", "expected old=host:port or new=host:port"),
        ("old=localhost", '"host:port", such as "localhost:5672"'),
    ],
)
def test_a_wrong_upstream_is_wrong_usage(value: str, complaint: str) -> None:
    done = subprocess.run(
        [*TRABBITS, "demo", "--upstream", value], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 2
    assert complaint in done.stderr
