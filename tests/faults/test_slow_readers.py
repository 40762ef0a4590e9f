"""Flow control end to end: whoever is slow slows down its sources, and the proxy's memory stays bounded.

Covered: a client that does not read, nodes that do not read; each with plain and fan sessions.
"""

from __future__ import annotations

import array
import fcntl
import socket
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from tests.certificates import Authority
from tests.clients import BODY, HEADER, RawClient, content_header, eventually, raw_frame, tags_covered
from tests.contract.target import HOST, fan_config, plain_config, unique
from tests.faults.bystander import Bystander
from tests.faults.conftest import running
from tests.faults.fake_upstream import FakeUpstream, Peer, open_channel
from tests.proxy import ProxyFactory, TrabbitsProcess
from trabbits.session.fan import HELD_MAX
from trabbits.testing.rabbitmq import RabbitNode

SIZE = 100_000
#: Messages that wait for a client that does not read: 200 MB.
WAITING = 2000
#: What the proxy's memory may grow by: buffers of some 100 KiB for each connection, and Python's own appetite.
GROWTH = 15_000_000


def memory(proxy: TrabbitsProcess, what: str = "VmHWM") -> int:
    """The most memory that the proxy ever had (VmHWM), or has now (VmRSS), octets."""
    with open(f"/proc/{proxy.pid}/status") as file:
        line = next(line for line in file if line.startswith(what))
    return int(line.split()[1]) * 1024


def at_rest(proxy: TrabbitsProcess, client: RawClient, seconds: float = 0.7) -> Callable[[], bool]:
    """A condition for `eventually`: for so long nothing more has come to the client nor into the proxy's memory."""
    last: tuple[int, int] = (0, 0)
    since = time.monotonic()

    def probe() -> bool:
        nonlocal last, since
        now = (unread(client), memory(proxy, "VmRSS"))
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    return probe


def unread(client: RawClient) -> int:
    """How many octets wait in the client's socket."""
    answer = array.array("i", [0])
    fcntl.ioctl(client.sock, termios.FIONREAD, answer)
    return answer[0]


def numbered(number: int) -> bytes:
    """A body that can be told from all others."""
    return number.to_bytes(8, "big") + bytes(SIZE - 8)


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


def expect_all(client: RawClient, count: int, nodes: int) -> None:
    """So many numbered messages of each node arrive, in each node's order."""
    due = [0] * nodes
    for tag in range(1, count * nodes + 1):
        expect_numbered(client, due, tag)
    assert due == [count] * nodes


def expect_numbered(client: RawClient, due: list[int], tag: int) -> None:
    """A delivery with this tag, of the message that is due from any of the nodes."""
    content = client.expect_content(commands.Basic.Deliver)
    assert content.method.delivery_tag == tag
    number = int.from_bytes(content.body[:8], "big")
    assert number in due, f"message {number} arrived, {due} were due"
    due[due.index(number)] += 1


@pytest.fixture(params=["plain", "fan"])
def own_proxy(request: pytest.FixtureRequest, rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """A proxy whose memory nobody else used."""
    config = plain_config(rabbit_a) if request.param == "plain" else fan_config(rabbit_a, rabbit_b)
    yield from running(TrabbitsProcess(config))


def test_a_client_that_does_not_read(
    own_proxy: TrabbitsProcess, rabbit_a: RabbitNode, rabbit_b: RabbitNode, faults_vhost: str
) -> None:
    """200 MB wait for it on one or two nodes and stay there; when it reads, all come, in each node's order."""
    (entry,) = own_proxy.find_logs(event="config_loaded")
    nodes = [rabbit_a, rabbit_b][: len(entry["upstreams"])]
    with Bystander(HOST, own_proxy.port, faults_vhost) as bystander:
        client = RawClient.open(HOST, own_proxy.port, vhost=faults_vhost, timeout=30)
        client.open_channel(1)
        queue = unique("slow")
        client.call(commands.Queue.Declare(queue=queue, auto_delete=True), commands.Queue.DeclareOk)
        for node in nodes:
            put(node, faults_vhost, queue, WAITING // len(nodes))
        before = memory(own_proxy)
        client.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
        # Nothing is read from here on.
        eventually(at_rest(own_proxy, client), 20, "every buffer is full")
        bystander.goes_on(rounds=5)
        assert memory(own_proxy) - before < GROWTH
        expect_all(client, WAITING // len(nodes), len(nodes))
        bystander.goes_on()
        assert memory(own_proxy) - before < GROWTH
        client.close_politely()


def test_a_client_that_does_not_read_over_tls(rabbit_a: RabbitNode, faults_vhost: str, tmp_path: Path) -> None:
    """The same where what waits is encrypted."""
    authority = Authority(tmp_path)
    server = authority.issue("server", ip=[HOST])
    tls = {"listen": f"{HOST}:0", "certificate": server.certificate, "key": server.key}
    for proxy in running(TrabbitsProcess(plain_config(rabbit_a, tls=tls))):
        port = proxy.wait_for_log(event="listening", socket=lambda kind: "TLS" in kind)["port"]
        plain = socket.create_connection((HOST, port), timeout=30)
        client = RawClient(authority.context().wrap_socket(plain, server_hostname=HOST), timeout=30)
        client.start("guest", "guest")
        client.tune()
        client.open_vhost(faults_vhost)
        client.expect(commands.Connection.OpenOk)
        client.open_channel(1)
        queue = unique("slow")
        client.call(commands.Queue.Declare(queue=queue, auto_delete=True), commands.Queue.DeclareOk)
        put(rabbit_a, faults_vhost, queue, WAITING // 2)
        before = memory(proxy)
        client.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
        eventually(at_rest(proxy, client), 20, "every buffer is full")
        assert memory(proxy) - before < GROWTH
        expect_all(client, WAITING // 2, 1)
        assert memory(proxy) - before < GROWTH
        client.close_politely()


class Publisher:
    """Publishes numbered messages as fast as the proxy takes them, in a thread."""

    def __init__(self, client: RawClient, queues: list[str], count: int) -> None:
        self.published = 0
        self._thread = threading.Thread(target=self._publish, args=(client, queues, count), daemon=True)
        self._thread.start()

    def _publish(self, client: RawClient, queues: list[str], count: int) -> None:
        for number in range(count):
            client.publish("", queues[number % len(queues)], numbered(number), mandatory=True)
            self.published += 1

    def finish(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive(), f"stands still after {self.published} messages"


@pytest.fixture(params=["plain", "fan"])
def spare_proxy(
    request: pytest.FixtureRequest, spare_node: RabbitNode, rabbit_a: RabbitNode
) -> Iterator[TrabbitsProcess]:
    """A proxy in front of the spare node, alone or together with node A."""
    upstreams: list[dict[str, Any]] = [{"name": "spare", "address": spare_node.address}]
    if request.param == "fan":
        upstreams.append({"name": "a", "address": rabbit_a.address, "routing": {"key_patterns": ["a.#"]}})
    yield from running(TrabbitsProcess({"upstreams": upstreams}))


def test_a_node_that_does_not_read(spare_proxy: TrabbitsProcess, spare_node: RabbitNode, rabbit_a: RabbitNode) -> None:
    """A frozen node blocks who publishes to it, by TCP alone; when it goes on, every message is confirmed.

    Over two links the client is blocked for both, but what the other node has for it still comes.
    """
    client = RawClient.open(HOST, spare_proxy.port, timeout=30)
    client.open_channel(1)
    queues = [unique("spare.frozen"), unique("a.frozen")]
    for queue in queues:
        client.call(commands.Queue.Declare(queue=queue, auto_delete=True), commands.Queue.DeclareOk)
    client.open_channel(2)
    client.call(commands.Basic.Consume(queue=queues[1]), commands.Basic.ConsumeOk, 2)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    before = memory(spare_proxy)
    spare_node.pause()
    publisher = Publisher(client, queues[:1], WAITING)
    eventually(lambda: publisher.published > 10, 20)
    eventually(at_rest(spare_proxy, client), 20, "every buffer is full")
    assert publisher.published < WAITING
    assert memory(spare_proxy) - before < GROWTH
    if len(spare_proxy.find_logs(event="config_loaded")[0]["upstreams"]) > 1:
        put(rabbit_a, "/", queues[1], 3)
        for _ in range(3):
            assert client.expect_content(commands.Basic.Deliver, 2).method.routing_key == queues[1]
    blocked_at = publisher.published
    spare_node.resume()
    publisher.finish()
    confirm_all(client, WAITING)
    assert blocked_at < publisher.published == WAITING
    assert memory(spare_proxy) - before < GROWTH
    client.close_politely()


def test_a_message_that_stops_halfway(trabbits: ProxyFactory, rabbit_a: RabbitNode, faults_vhost: str) -> None:
    """One node stops in the middle of a message; 200 MB of another node's, for the same channel, wait on that node."""
    go_on = threading.Event()
    half = [bytes([number]) * 100_000 for number in range(20)]

    def stop_halfway(peer: Peer) -> None:
        peer.shake_hands()
        open_channel(peer)
        peer.expect(commands.Queue.Declare, 1)
        peer.send(commands.Queue.DeclareOk("halfway", 0, 0), channel=1)
        tag = peer.expect(commands.Basic.Consume, 1).consumer_tag
        peer.send(commands.Basic.ConsumeOk(tag), channel=1)
        # What is delivered before all nodes have answered would wait until it is whole; so this comes later.
        peer.expect(commands.Basic.Publish, 1)
        peer.receive()
        peer.send(commands.Basic.Deliver(tag, 1, False, "", "halfway"), channel=1)
        peer.send_octets(raw_frame(HEADER, 1, content_header(2 * sum(map(len, half)))))
        for _ in range(2):
            for piece in half:
                peer.send_octets(raw_frame(BODY, 1, piece))
            go_on.wait(60)
        peer.wait_for_the_end()

    with FakeUpstream(stop_halfway) as fake:
        config = fan_config(rabbit_a, rabbit_a)
        config["upstreams"][1]["address"] = fake.address
        proxy = trabbits(config)
        client = RawClient.open(HOST, proxy.port, vhost=faults_vhost, timeout=30)
        client.open_channel(1)
        client.call(commands.Queue.Declare(queue="halfway", auto_delete=True), commands.Queue.DeclareOk)
        client.call(commands.Basic.Consume(queue="halfway", no_ack=True), commands.Basic.ConsumeOk)
        client.publish("", "b.begin")
        assert client.expect(commands.Basic.Deliver, 1).routing_key == "halfway"
        client.receive()
        for piece in half:
            assert client.receive().payload == piece
        before = memory(proxy)
        put(rabbit_a, faults_vhost, "halfway", WAITING)
        eventually(at_rest(proxy, client), 20, "the other link is paused")
        assert unread(client) == 0
        assert memory(proxy) - before < GROWTH
        go_on.set()
        for piece in half:
            assert client.receive().payload == piece
        due = [0]
        for tag in range(2, WAITING + 2):
            expect_numbered(client, due, tag)
        assert memory(proxy) - before < GROWTH
        client.close_politely()


def test_deliveries_beyond_the_window(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, faults_vhost: str
) -> None:
    """Each node fills the prefetch window of a client that acknowledges nothing: what is too much waits, but not all.

    100 MB of each node's go to the client or wait in the proxy, and there is no room for the second 100 MB there.
    """
    window = WAITING // 2
    proxy = trabbits(fan_config(rabbit_a, rabbit_b))
    client = RawClient.open(HOST, proxy.port, vhost=faults_vhost, timeout=30)
    client.open_channel(1)
    queue = unique("window")
    client.call(commands.Queue.Declare(queue=queue, auto_delete=True), commands.Queue.DeclareOk)
    for node in (rabbit_a, rabbit_b):
        put(node, faults_vhost, queue, window)
    before = memory(proxy)
    client.call(commands.Basic.Qos(prefetch_count=window), commands.Basic.QosOk)
    client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    due = [0, 0]
    for tag in range(1, window + 1):
        expect_numbered(client, due, tag)
    eventually(at_rest(proxy, client), 20, "the links are paused")
    assert unread(client) == 0
    assert memory(proxy) - before < HELD_MAX + GROWTH
    for tag in range(1, window + 1):
        client.send(commands.Basic.Ack(tag), channel=1)
        expect_numbered(client, due, window + tag)
    assert due == [window, window]
    client.send(commands.Basic.Ack(0, multiple=True), channel=1)
    assert memory(proxy) - before < HELD_MAX + GROWTH
    client.close_politely()
