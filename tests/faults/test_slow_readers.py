"""Flow control end to end: whoever is slow slows down its sources, and the proxy's memory stays bounded.

Covered: a client that does not read, nodes that do not read; each with plain and fan sessions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pamqp import commands

from tests.clients import RawClient, eventually, tags_covered
from tests.contract.target import HOST, fan_config, plain_config, unique
from tests.faults.bystander import Bystander
from tests.faults.conftest import running
from tests.proxy import TrabbitsProcess
from trabbits.testing.rabbitmq import RabbitNode

BODY = 100_000
#: Messages that wait for a client that does not read: 200 MB.
WAITING = 2000
#: What the proxy's memory may grow by: buffers of some 100 KiB for each connection, and Python's own appetite.
GROWTH = 30_000_000


def memory(proxy: TrabbitsProcess, what: str = "VmHWM") -> int:
    """The most memory that the proxy ever had (VmHWM), or has now (VmRSS), octets."""
    with open(f"/proc/{proxy.pid}/status") as file:
        line = next(line for line in file if line.startswith(what))
    return int(line.split()[1]) * 1024


def standing_still(value: Callable[[], Any], seconds: float = 0.7) -> Callable[[], bool]:
    """A condition for `eventually`: `value` has been the same for so long."""
    last, since = value(), time.monotonic()

    def probe() -> bool:
        nonlocal last, since
        now = value()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    return probe


def numbered(number: int) -> bytes:
    """A body that can be told from all others."""
    return number.to_bytes(8, "big") + bytes(BODY - 8)


def put(node: RabbitNode, vhost: str, queue: str, count: int) -> None:
    """So many numbered messages are in a queue on the node."""
    client = RawClient.open(HOST, node.port, vhost=vhost, timeout=30)
    client.open_channel(1)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    for number in range(count):
        client.publish("", queue, numbered(number), mandatory=True)
    confirm_all(client, count)
    client.close_politely()


def confirm_all(client: RawClient, count: int) -> None:
    """Every publish so far is confirmed; nothing else comes."""
    outstanding = set(range(1, count + 1))
    while outstanding:
        ack: Any = client.expect(commands.Basic.Ack, 1)
        outstanding -= tags_covered([(ack.delivery_tag, ack.multiple)], outstanding)


@pytest.fixture(params=["plain", "fan"])
def own_proxy(request: pytest.FixtureRequest, rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """A proxy whose memory nobody else used."""
    config = plain_config(rabbit_a) if request.param == "plain" else fan_config(rabbit_a, rabbit_b)
    yield from running(TrabbitsProcess(config))


def test_a_client_that_does_not_read(
    own_proxy: TrabbitsProcess, rabbit_a: RabbitNode, rabbit_b: RabbitNode, faults_vhost: str
) -> None:
    """200 MB wait for it on one or two nodes and stay there; when it reads, all come, in each node's order."""
    nodes = [rabbit_a, rabbit_b] if len(own_proxy.find_logs(event="config_loaded")[0]["upstreams"]) > 1 else [rabbit_a]
    with Bystander(HOST, own_proxy.port, faults_vhost) as bystander:
        client = RawClient.open(HOST, own_proxy.port, vhost=faults_vhost, timeout=30)
        client.open_channel(1)
        queue = unique("slow")
        client.call(commands.Queue.Declare(queue=queue, auto_delete=True), commands.Queue.DeclareOk)
        each = WAITING // len(nodes)
        for node in nodes:
            put(node, faults_vhost, queue, each)
        before = memory(own_proxy)
        client.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
        # Nothing is read from here on; the proxy moves until every buffer is full.
        eventually(standing_still(lambda: processor_ticks(own_proxy) // 5), 20, "the proxy has come to rest")
        bystander.goes_on(rounds=5)
        assert memory(own_proxy) - before < GROWTH
        assert_all_arrive(client, each, len(nodes))
        bystander.goes_on()
        assert memory(own_proxy) - before < GROWTH
        client.close_politely()
