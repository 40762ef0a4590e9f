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

from tests.rabbitmq import NodeFactory
from tests.upstream.scripted import HEARTBEAT, REQUEST, Receiver
from trabbits.session.actions import LinkRequest
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.upstream.errors import LinkRefused, LinkUnreachable, RequestFailed, RequestRefused
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.upstream import Upstream

reactor: Any = _reactor


def upstream_of(node: RabbitNode, timeout: float = 10) -> Upstream:
    return Upstream("primary", node.address, timeout, reactor)


def request_for(vhost: str, **changes: Any) -> LinkRequest:
    return evolve(REQUEST, virtual_host=vhost, **changes)


async def attached(node: RabbitNode, request: LinkRequest) -> tuple[LinkProtocol, Receiver]:
    link = await upstream_of(node).open_link(request)
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
    link = await upstream_of(rabbit_a).open_link(request_for(vhost, mechanism=mechanism, channel_max=100, heartbeat=7))
    assert link.server_properties["product"] == "RabbitMQ"
    assert (link.channel_max, link.own_channel, link.frame_max, link.heartbeat) == (101, 101, 131072, 7)
    assert (link.upstream_name, link.node) == ("primary", rabbit_a.address)
    await link.close_link(5)


@pytest.mark.parametrize(
    ("changes", "code", "text", "method"),
    [
        ({"password": "wrong"}, 403, "ACCESS_REFUSED - Login was refused", (0, 0)),
        ({"username": "jürgen", "mechanism": "AMQPLAIN"}, 403, "ACCESS_REFUSED - Login was refused", (0, 0)),
        ({"virtual_host": "missing"}, 530, "NOT_ALLOWED - vhost missing not found", (10, 40)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_is_refused(
    rabbit_a: RabbitNode, vhost: str, changes: dict[str, Any], code: int, text: str, method: tuple[int, int]
) -> None:
    with pytest.raises(LinkRefused) as caught:
        await upstream_of(rabbit_a).open_link(evolve(request_for(vhost), **changes))
    error = caught.value
    assert (error.code, error.class_id, error.method_id) == (code, *method)
    assert error.text.startswith(text)


@pytest_twisted.ensureDeferred
async def test_a_virtual_host_that_the_user_may_not_enter(rabbit_a: RabbitNode, vhost: str) -> None:
    assert rabbit_a.management is not None
    rabbit_a.management.add_user("stranger", "secret")
    try:
        with pytest.raises(LinkRefused) as caught:
            await upstream_of(rabbit_a).open_link(request_for(vhost, username="stranger", password="secret"))
    finally:
        rabbit_a.management.delete_user("stranger")
    assert caught.value.code == 530
    assert "refused" in caught.value.text


@pytest_twisted.ensureDeferred
async def test_channel_1_is_the_receivers(rabbit_a: RabbitNode, vhost: str) -> None:
    link, receiver = await attached(rabbit_a, request_for(vhost))
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
    link, receiver = await attached(rabbit_a, request_for(vhost))
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
    link, _ = await attached(rabbit_a, request_for(vhost))
    link.write(frame.marshal(commands.Channel.Open(), 1) + frame.marshal(commands.Queue.Declare(queue="q"), 1))
    link.write(published("q", b"x" * 50_000) * 100)
    link.pause_reading()
    started = time.monotonic()
    await link.close_link(10)
    assert time.monotonic() - started < 9
    other, _ = await attached(rabbit_a, request_for(vhost))
    assert await other.count_messages("q", 5) == 100
    await other.close_link(5)


@pytest.mark.parametrize("before_attach", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_forced_close_is_told_with_320(rabbit_a: RabbitNode, vhost: str, before_attach: bool) -> None:
    link = await upstream_of(rabbit_a).open_link(request_for(vhost))
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
async def test_a_node_that_freezes_and_dies(rabbit_node: NodeFactory) -> None:
    node = rabbit_node("frozen", plugins=())
    link, receiver = await attached(node, request_for("/", heartbeat=1))
    healthy, closing = await attached(node, request_for("/"))
    node.pause()

    upstream = upstream_of(node, timeout=0.5)
    with pytest.raises(LinkUnreachable) as unreachable:
        await upstream.open_link(REQUEST)
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
    dying, told = await attached(node, request_for("/"))
    node.kill()
    await until(lambda: told.events)
    ((event, reason),) = told.events
    assert event == "lost"
    assert reason.startswith(f"upstream 'primary' ({node.address}) ")
    assert dying.closed
    with pytest.raises(LinkUnreachable, match="refused the TCP connection"):
        await upstream.open_link(REQUEST)


@pytest_twisted.ensureDeferred
async def test_heartbeats_keep_an_idle_link_alive(rabbit_a: RabbitNode, vhost: str) -> None:
    """RabbitMQ ends connections that are silent for two intervals; so do we."""
    link, receiver = await attached(rabbit_a, request_for(vhost, heartbeat=1))
    await until(lambda: receiver.octets.count(HEARTBEAT) >= 6)
    assert receiver.events == []
    with pytest.raises(RequestRefused):
        await link.count_messages("missing", 5)
    await link.close_link(5)
