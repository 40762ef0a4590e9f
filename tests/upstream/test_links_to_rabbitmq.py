"""Links to real RabbitMQ nodes: what the broker really answers, and how links to it end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from pamqp import commands, frame, header
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from tests.upstream.making import upstream_at
from tests.upstream.scripted import HEARTBEAT, LOGIN, VIRTUAL_HOST, Receiver
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.upstream.errors import LinkRefused, LinkUnreachable, RequestFailed, RequestRefused
from trabbits.upstream.health import HealthPolicy, HealthWatch
from trabbits.upstream.node import Node
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.status import NodeTable
from trabbits.upstream.upstream import Upstream

reactor: Any = _reactor


def upstream_of(node: RabbitNode, timeout: float = 10) -> Upstream:
    return upstream_at(node.address, timeout=timeout, reactor=reactor)


async def opened(upstream: Upstream, vhost: str, **changes: Any) -> LinkProtocol:
    """A link that went through the whole handshake; `changes` are to `LOGIN` or `VIRTUAL_HOST`."""
    to_login = {name: changes.pop(name) for name in list(changes) if hasattr(LOGIN, name)}
    link = await upstream.open_link(evolve(LOGIN, **to_login))
    await link.open(evolve(VIRTUAL_HOST, virtual_host=vhost, **changes), upstream.timeout)
    return link


async def attached(node: RabbitNode, vhost: str, **changes: Any) -> tuple[LinkProtocol, Receiver]:
    link = await opened(upstream_of(node), vhost, **changes)
    receiver = Receiver(link)
    link.attach(receiver)
    return link, receiver


async def until(condition: Callable[[], Any], within: float = 15) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await deferLater(reactor, 0.01)


def answers(receiver: Receiver, channel: int = 1) -> list[Any]:
    """Whole frames of `channel`, by pamqp."""
    octets, frames = receiver.octets, []
    while len(octets) >= 8:
        end = 8 + int.from_bytes(octets[3:7], "big")
        if len(octets) < end:
            break
        if int.from_bytes(octets[1:3], "big") == channel:
            frames.append(frame.unmarshal(octets[:end])[2])
        octets = octets[end:]
    return frames


def published(queue: str, body: bytes) -> bytes:
    return (
        frame.marshal(commands.Basic.Publish(routing_key=queue), 1)
        + frame.marshal(header.ContentHeader(body_size=len(body)), 1)
        + b"\x03\x00\x01"
        + len(body).to_bytes(4, "big")
        + body
        + b"\xce"
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
@pytest_twisted.ensureDeferred
async def test_opens(rabbit_a: RabbitNode, vhost: str, mechanism: str) -> None:
    link = await opened(upstream_of(rabbit_a), vhost, mechanism=mechanism, channel_max=100, heartbeat=7)
    assert link.server_properties["product"] == "RabbitMQ"
    assert (link.channel_max, link.own_channel, link.frame_max, link.heartbeat) == (101, 101, 131072, 7)
    assert (link.upstream_name, link.node) == ("primary", rabbit_a.address)
    await link.close_link(5)


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "wrong"},
        {"username": "jürgen", "mechanism": "AMQPLAIN"},
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_login_is_refused(rabbit_a: RabbitNode, changes: dict[str, Any]) -> None:
    with pytest.raises(LinkRefused) as caught:
        await upstream_of(rabbit_a).open_link(evolve(LOGIN, **changes))
    error = caught.value
    assert (error.code, error.class_id, error.method_id) == (403, 0, 0)
    assert error.text.startswith("ACCESS_REFUSED - Login was refused")


@pytest_twisted.ensureDeferred
async def test_a_virtual_host_is_refused(rabbit_a: RabbitNode) -> None:
    link = await upstream_of(rabbit_a).open_link(LOGIN)
    with pytest.raises(LinkRefused) as caught:
        await link.open(evolve(VIRTUAL_HOST, virtual_host="missing"), 10)
    error = caught.value
    assert (error.code, error.class_id, error.method_id) == (530, 10, 40)
    assert error.text.startswith("NOT_ALLOWED - vhost missing not found")


@pytest_twisted.ensureDeferred
async def test_a_virtual_host_that_the_user_may_not_enter(rabbit_a: RabbitNode, vhost: str) -> None:
    assert rabbit_a.management is not None
    rabbit_a.management.add_user("stranger", "secret")
    try:
        with pytest.raises(LinkRefused) as caught:
            await opened(upstream_of(rabbit_a), vhost, username="stranger", password="secret")
    finally:
        rabbit_a.management.delete_user("stranger")
    assert caught.value.code == 530
    assert "refused" in caught.value.text


@pytest_twisted.ensureDeferred
async def test_channel_1_is_the_receivers(rabbit_a: RabbitNode, vhost: str) -> None:
    link, receiver = await attached(rabbit_a, vhost)
    link.write(frame.marshal(commands.Channel.Open(), 1) + frame.marshal(commands.Queue.Declare(queue="q"), 1))
    await until(lambda: len(answers(receiver)) == 2)
    body = b"x" * 100_000
    for _ in range(20):
        link.write(published("q", body))
    link.write(frame.marshal(commands.Basic.Consume(queue="q", no_ack=True), 1))
    await until(lambda: len(answers(receiver)) == 3 + 20 * 3)
    assert b"".join(part.value for part in answers(receiver)[5::3]) == body * 20
    await link.close_link(5)
    assert receiver.events == []


@pytest_twisted.ensureDeferred
async def test_requests_of_our_own(rabbit_a: RabbitNode, vhost: str) -> None:
    link, receiver = await attached(rabbit_a, vhost)
    with pytest.raises(RequestRefused) as caught:
        await link.count_messages("grün", 5)
    assert caught.value.code == 404
    assert caught.value.text == f"NOT_FOUND - no queue 'grün' in vhost '{vhost}'"
    link.write(
        frame.marshal(commands.Channel.Open(), 1)
        + frame.marshal(commands.Queue.Declare(queue="q"), 1)
        + published("q", b"message") * 3
        + frame.marshal(commands.Queue.Declare(queue="q", passive=True), 1)
    )
    await until(lambda: len(answers(receiver)) == 3)
    assert await link.count_messages("q", 5) == 3
    await link.delete_queue("q", 5)
    await link.delete_queue("q", 5)
    with pytest.raises(RequestRefused):
        await link.count_messages("q", 5)
    await link.update_secret("any\0thing ü", "token expires", 5)
    await link.close_link(5)
    assert receiver.events == []


@pytest_twisted.ensureDeferred
async def test_close_link_lets_what_was_written_arrive(rabbit_a: RabbitNode, vhost: str) -> None:
    link, _ = await attached(rabbit_a, vhost)
    link.write(frame.marshal(commands.Channel.Open(), 1) + frame.marshal(commands.Queue.Declare(queue="q"), 1))
    link.write(published("q", b"x" * 50_000) * 100)
    link.pause_reading()
    started = time.monotonic()
    await link.close_link(10)
    assert time.monotonic() - started < 9
    other, _ = await attached(rabbit_a, vhost)
    assert await other.count_messages("q", 5) == 100
    await other.close_link(5)


@pytest.mark.parametrize("before_attach", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_forced_close_is_told_with_320(rabbit_a: RabbitNode, vhost: str, before_attach: bool) -> None:
    link = await opened(upstream_of(rabbit_a), vhost)
    receiver = Receiver(link)
    if not before_attach:
        link.attach(receiver)
    rabbit_a.ctl("close_all_connections", "--vhost", vhost, "by the operator")
    if before_attach:
        await link.disconnected.wait()
        link.attach(receiver)
    await until(lambda: receiver.events)
    await link.disconnected.wait()
    ((event, code, text, class_id, method_id),) = receiver.events
    assert (event, code, class_id, method_id) == ("closed", 320, 0, 0)
    assert text.startswith("CONNECTION_FORCED - ")
    assert "by the operator" in text


@pytest_twisted.ensureDeferred
async def test_a_node_that_freezes_and_dies(spare_node: RabbitNode) -> None:
    node = spare_node
    link, receiver = await attached(node, "/", heartbeat=1)
    healthy, closing = await attached(node, "/")
    node.pause()

    upstream = upstream_of(node, timeout=0.5)
    with pytest.raises(LinkUnreachable) as unreachable:
        await upstream.open_link(LOGIN)
    assert unreachable.value.text == (
        f"upstream 'primary' ({node.address}) did not finish the AMQP handshake within 0.5s: no connection.start"
    )
    with pytest.raises(RequestFailed, match=r"did not answer queue\.declare of 'q' within 0\.1s"):
        await healthy.count_messages("q", 0.1)
    await until(lambda: receiver.events)
    text = f"upstream 'primary' ({node.address}) sent nothing for 2s, not even heartbeats"
    assert receiver.events == [("lost", text)]

    started = time.monotonic()
    await healthy.close_link(0.3)
    assert 0.2 < time.monotonic() - started < 2
    assert closing.events == []
    assert link.disconnected is not healthy.disconnected

    node.resume()
    dying, told = await attached(node, "/")
    node.kill()
    await until(lambda: told.events)
    ((event, reason),) = told.events
    assert event == "lost"
    assert reason.startswith(f"upstream 'primary' ({node.address}) ")
    assert dying.closed
    with pytest.raises(LinkUnreachable, match="refused the TCP connection"):
        await upstream.open_link(LOGIN)


@pytest_twisted.ensureDeferred
async def test_heartbeats_keep_an_idle_link_alive(rabbit_a: RabbitNode, vhost: str) -> None:
    """RabbitMQ ends connections that are silent for two intervals; so do we."""
    link, receiver = await attached(rabbit_a, vhost, heartbeat=1)
    await until(lambda: receiver.octets.count(HEARTBEAT) >= 6)
    assert receiver.events == []
    with pytest.raises(RequestRefused):
        await link.count_messages("missing", 5)
    await link.close_link(5)


@pytest_twisted.ensureDeferred
async def test_a_dead_node_costs_no_client(rabbit_a: RabbitNode, vhost: str) -> None:
    upstream = upstream_at(rabbit_a.address, "127.0.0.1:1", timeout=10, reactor=reactor)
    alive, dead = upstream.statuses
    alive.links = 1  # so that the dead one is first
    link = await opened(upstream, vhost)
    assert link.node == rabbit_a.address
    assert (dead.suspect, alive.suspect) == (True, False)
    assert (dead.links, alive.links) == (0, 2)
    await link.close_link(5)
    assert alive.links == 1


@pytest_twisted.ensureDeferred
async def test_health_checks(rabbit_a: RabbitNode, vhost: str) -> None:
    assert rabbit_a.management is not None
    table = NodeTable(reactor)
    table.keep((name, Node.parse(rabbit_a.address)) for name in ("right", "wrong password", "wrong vhost"))
    watch = HealthWatch(table, reactor)
    right = HealthPolicy("guest", "guest", vhost, timeout=30.0)
    watch.apply(
        {
            "right": right,
            "wrong password": evolve(right, password="wrong"),
            "wrong vhost": evolve(right, virtual_host="missing"),
        }
    )
    await until(lambda: all(status.checks for status in table))
    (good,), (stranger,), (lost,) = (table.of(name) for name in ("right", "wrong password", "wrong vhost"))
    assert (good.failures, good.last_error) == (0, "")
    assert "403 ACCESS_REFUSED" in stranger.last_error
    assert "530 NOT_ALLOWED - vhost missing not found" in lost.last_error
    await watch.stop()
