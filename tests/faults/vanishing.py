"""Clients that vanish in the middle of something: what they were at, and how they go.

Lives here: `STAGES`, each a function that brings a connection somewhere, and `ENDS`, each a way to be gone.
They block, so they run in threads.  Must not know: the proxy's inside.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from attrs import define
from pamqp import base, commands

from tests.contract.target import HOST, unique
from trabbits.testing.raw_client import (
    CAPABILITIES,
    HEADER,
    PROTOCOL_HEADER,
    RawClient,
    content_header,
    encode_methods,
    raw_frame,
    tags_covered,
)

#: For clients that do not read: the kernel takes little, the proxy is left with the rest.  Not less, because the
#: loopback's segments are as large.
SMALL_WINDOW = 128 * 1024
BIG_BODY = bytes(60_000)


@define
class Vanishing:
    """One client.  `queues` are its own, one for each upstream."""

    client: RawClient
    vhost: str
    queues: tuple[str, str]
    #: Seconds it agrees to; it never sends any.
    heartbeat: int = 0

    @classmethod
    def dial(cls, port: int, vhost: str, heartbeat: int = 0) -> Vanishing:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
        sock.settimeout(20)
        sock.connect((HOST, port))
        return cls(RawClient(sock, timeout=20), vhost, (unique("a.gone"), unique("b.gone")), heartbeat)

    @property
    def address(self) -> str:
        """What the proxy knows it by."""
        return f"{HOST}:{self.client.sock.getsockname()[1]}"

    def say(self, *methods: base.Frame) -> None:
        self.client.send(*methods, channel=1)

    def open(self) -> None:
        """An open connection."""
        handshake(self)
        self.client.expect(commands.Connection.OpenOk)

    def open_channel(self) -> None:
        self.open()
        self.client.open_channel(1)

    def declare(self) -> None:
        """A channel, and a queue on each upstream that ends with the connection."""
        self.open_channel()
        for queue in self.queues:
            self.client.call(commands.Queue.Declare(queue=queue, exclusive=True), commands.Queue.DeclareOk)

    def fill(self, count: int, body: bytes) -> None:
        """So many messages are in each queue."""
        self.client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        for _ in range(count):
            for queue in self.queues:
                self.client.publish("", queue, body)
        outstanding = set(range(1, 2 * count + 1))
        while outstanding:
            ack: Any = self.client.expect(commands.Basic.Ack, 1)
            outstanding -= tags_covered([(ack.delivery_tag, ack.multiple)], outstanding)


Stage = Callable[[Vanishing], None]


def in_the_header(gone: Vanishing) -> None:
    gone.client.send_octets(PROTOCOL_HEADER[:5])


def after_start(gone: Vanishing) -> None:
    gone.client.send_octets(PROTOCOL_HEADER)
    gone.client.expect(commands.Connection.Start)


def in_start_ok(gone: Vanishing) -> None:
    after_start(gone)
    octets = encode_methods(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), channel=0)
    gone.client.send_octets(octets[:25])


def after_start_ok(gone: Vanishing) -> None:
    """While the upstreams are asked who the client is."""
    gone.client.start("guest", "guest", {"capabilities": CAPABILITIES})


def with_everything_before_tune(gone: Vanishing) -> None:
    after_start_ok(gone)
    gone.client.send(commands.Connection.TuneOk(100, 131072, gone.heartbeat))
    gone.client.open_vhost(gone.vhost)
    gone.say(commands.Channel.Open())


def after_tune(gone: Vanishing) -> None:
    """While its links wait for it."""
    after_start_ok(gone)
    gone.client.tune(heartbeat=gone.heartbeat)


def handshake(gone: Vanishing) -> None:
    """While the links are being opened."""
    after_tune(gone)
    gone.client.open_vhost(gone.vhost)


def with_requests_before_open_ok(gone: Vanishing) -> None:
    handshake(gone)
    gone.say(commands.Channel.Open(), commands.Queue.Declare(queue=gone.queues[0], exclusive=True))


def idle(gone: Vanishing) -> None:
    gone.open()


def in_a_method(gone: Vanishing) -> None:
    gone.open_channel()
    gone.client.send_octets(encode_methods(commands.Queue.Declare(queue="half"), channel=1)[:9])


def before_the_content(gone: Vanishing) -> None:
    gone.declare()
    gone.say(commands.Basic.Publish(exchange="", routing_key=gone.queues[1]))


def in_the_content(gone: Vanishing) -> None:
    before_the_content(gone)
    gone.client.send_octets(raw_frame(HEADER, 1, content_header(100_000)) + struct.pack(">BHI", 3, 1, 90_000) + b"body")


def with_unconfirmed_publishes(gone: Vanishing) -> None:
    gone.declare()
    gone.client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    for queue in gone.queues * 20:
        gone.client.publish("", queue, BIG_BODY[:5000])


def with_unacked_deliveries(gone: Vanishing) -> None:
    gone.declare()
    gone.fill(10, b"unacked")
    gone.client.call(commands.Basic.Qos(prefetch_count=3), commands.Basic.QosOk)
    for queue in gone.queues:
        gone.client.call(commands.Basic.Consume(queue=queue, consumer_tag="c" + queue), commands.Basic.ConsumeOk)
        # The first message comes before anything else can.
        gone.client.expect_content(commands.Basic.Deliver)
        gone.client.expect_content(commands.Basic.Deliver)
        gone.client.expect_content(commands.Basic.Deliver)
        gone.client.call(commands.Basic.Qos(prefetch_count=3), commands.Basic.QosOk)


def in_a_get(gone: Vanishing) -> None:
    gone.declare()
    gone.say(commands.Basic.Get(queue=gone.queues[0]))


def in_several_gets(gone: Vanishing) -> None:
    gone.declare()
    gone.say(*[commands.Basic.Get(queue=queue, no_ack=True) for queue in gone.queues * 5])


def in_a_request(gone: Vanishing) -> None:
    gone.open_channel()
    gone.say(commands.Queue.Declare(queue=gone.queues[0], exclusive=True))


def in_a_transaction(gone: Vanishing) -> None:
    gone.declare()
    gone.client.call(commands.Tx.Select(), commands.Tx.SelectOk)
    gone.client.publish("", gone.queues[0], b"never committed")
    gone.say(commands.Tx.Commit())


def in_a_channel_close(gone: Vanishing) -> None:
    gone.declare()
    gone.say(commands.Channel.Close(200, "", 0, 0))


def after_a_channel_error(gone: Vanishing) -> None:
    gone.open_channel()
    gone.client.call(commands.Queue.Declare(queue=unique("none"), passive=True), commands.Channel.Close)


def in_connection_close(gone: Vanishing) -> None:
    gone.declare()
    gone.client.send(commands.Connection.Close(200, "", 0, 0))


def after_a_connection_error(gone: Vanishing) -> None:
    gone.open_channel()
    gone.say(commands.Channel.Open())
    gone.client.expect(commands.Connection.Close)


def not_reading(gone: Vanishing) -> None:
    """A consumer of more than all buffers hold; the test waits until the proxy feels it."""
    gone.declare()
    gone.fill(60, BIG_BODY)
    for queue in gone.queues:
        gone.say(commands.Basic.Consume(queue=queue))


STAGES: list[Stage] = [
    in_the_header,
    after_start,
    in_start_ok,
    after_start_ok,
    with_everything_before_tune,
    after_tune,
    handshake,
    with_requests_before_open_ok,
    idle,
    in_a_method,
    before_the_content,
    in_the_content,
    with_unconfirmed_publishes,
    with_unacked_deliveries,
    in_a_get,
    in_several_gets,
    in_a_request,
    in_a_transaction,
    in_a_channel_close,
    after_a_channel_error,
    in_connection_close,
    after_a_connection_error,
]


def reset(client: RawClient) -> None:
    """RST: a crashed machine, as far as anybody can tell."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


def finish(client: RawClient) -> None:
    """FIN: nothing more to say, but it still listens, to the end."""
    client.sock.shutdown(socket.SHUT_WR)
    try:
        while client.sock.recv(65536):
            pass
    except ConnectionResetError:
        pass  # it had said something that nobody read
    client.sock.close()


def close(client: RawClient) -> None:
    """What a killed process does: FIN, or RST where something is unread."""
    client.sock.close()


ENDS: list[Callable[[RawClient], None]] = [reset, finish, close]
