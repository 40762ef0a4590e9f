"""A side that takes nothing for a while: the other side waits, nothing is lost, and nobody buffers it all."""

from __future__ import annotations

import socket

from pamqp import commands

from tests.contract.target import Target, each_upstream
from trabbits.testing.raw_client import encode_publish, eventually

MIB = 1024 * 1024
#: More than the sockets' buffers on both sides of a proxy hold.
MESSAGES = 64


@each_upstream
def test_a_node_that_stops_reading_gets_everything_later(target: Target, upstream: str) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    client = target.raw(timeout=30)
    client.open_channel(1)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    key = target.key_for(upstream, queue)
    octets = b"".join(encode_publish("amq.direct", key, bytes([number]) * MIB) for number in range(MESSAGES))
    node = target.node(upstream)
    node.pause()
    try:
        client.sock.settimeout(0.5)
        sent = 0
        try:
            while sent < len(octets):
                sent += client.sock.send(octets[sent : sent + MIB])
        except TimeoutError:
            pass  # full all the way to the node
    finally:
        node.resume()
    assert sent < len(octets), "everything was taken while the node took nothing"
    client.send_octets(octets[sent:])
    unconfirmed = set(range(1, MESSAGES + 1))
    while unconfirmed:
        ack = client.expect(commands.Basic.Ack, 1)
        unconfirmed -= {
            tag for tag in unconfirmed if tag == ack.delivery_tag or (ack.multiple and tag < ack.delivery_tag)
        }
    place = target.at(upstream)
    assert [body[:1] for body in place.take(queue)] == [bytes([number]) for number in range(MESSAGES)]
    setup.queue_delete(queue)


def test_a_client_that_reads_late_gets_everything_in_order(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    for upstream in ("a", "b"):
        target.at(upstream).put(queue, *[f"{upstream}{number:02}".encode() * (MIB // 4) for number in range(20)])
    client = target.raw(timeout=30)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.open_channel(1)
    client.call(commands.Basic.Consume(queue=queue, consumer_tag="late"), commands.Basic.ConsumeOk)
    eventually(lambda: target.depth(queue) == 0, within=20, what="all is on its way")
    seen: dict[str, list[bytes]] = {"a": [], "b": []}
    for tag in range(1, 41):
        content = client.expect_content(commands.Basic.Deliver)
        assert content.method.delivery_tag == tag
        assert len(content.body) == 3 * (MIB // 4)
        seen[content.body[:1].decode()].append(content.body[:3])
    for upstream, bodies in seen.items():
        assert bodies == [f"{upstream}{number:02}".encode() for number in range(20)]
    client.send(commands.Basic.Ack(delivery_tag=0, multiple=True), channel=1)
    client.close_politely()
    assert target.depth(queue) == 0
    setup.queue_delete(queue)
