"""What the contract tests talk to, and how they look behind it.

A `Target` is an address that speaks AMQP: RabbitMQ itself (``direct``, which proves the test), the embedded broker
(``embedded``, which the test proves to be like RabbitMQ), trabbits with one upstream (``plain``) or trabbits with the
upstreams a and b (``fan``; ``embedded-fan`` in front of embedded brokers).  Tests say "upstream b" everywhere; where
there is only one node, a and b are the same.  A `Witness` looks at one node from behind the proxy.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import pika
import pytest
from attrs import define, field
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from tests.contract.embedded import EmbeddedNode
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import RawClient

Node = RabbitNode | EmbeddedNode

#: The fan proxy's configuration sends these keys to upstream b and all others to a.
KEYS_OF_B = ("b.#", "b-%")
SPREAD_EXCHANGE = "amq.direct"
HOST = "127.0.0.1"

each_upstream = pytest.mark.parametrize("upstream", ["a", "b"])
only_direct = pytest.mark.parametrize("target", ["direct"], indirect=True)
only_fan = pytest.mark.parametrize("target", ["fan"], indirect=True)
#: Both brokers, where a proxy in between adds nothing.
unproxied = pytest.mark.parametrize("target", ["direct", "embedded"], indirect=True)
proxied = pytest.mark.parametrize("target", ["plain", "fan"], indirect=True)


class Address(Protocol):
    """Anything that listens on this machine."""

    @property
    def port(self) -> int: ...


def unique(stem: str) -> str:
    """A name no other test uses."""
    return f"{stem}-{uuid.uuid4().hex[:12]}"


@define
class Witness:
    """Looks at one node directly and puts things there that the proxy did not do."""

    node: Address
    vhost: str = "/"
    _connection: Any = None

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """A channel straight at the node, closed afterwards if an error did not do that already."""
        if self._connection is None or not self._connection.is_open:
            self._connection = BlockingConnection(parameters(self.node, vhost=self.vhost, heartbeat=0))
        channel = self._connection.channel()
        try:
            yield channel
        finally:
            if channel.is_open:
                channel.close()

    def depth(self, queue: str) -> int:
        """How many messages of `queue` are ready on the node."""
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        """How many consumers `queue` has on the node."""
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.consumer_count)

    def has_queue(self, queue: str) -> bool:
        return self._found(lambda channel: channel.queue_declare(queue, passive=True))

    def has_exchange(self, exchange: str) -> bool:
        return self._found(lambda channel: channel.exchange_declare(exchange, passive=True))

    def put(self, queue: str, *bodies: bytes, properties: pika.BasicProperties | None = None) -> None:
        """The bodies are in `queue` on the node when this returns."""
        with self.channel() as channel:
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish("", queue, body, properties, mandatory=True)

    def take(self, queue: str) -> list[bytes]:
        """Everything that is ready in `queue` on the node, removed from it."""
        taken: list[bytes] = []
        with self.channel() as channel:
            while True:
                method, _, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return taken
                taken.append(body)

    def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def _found(self, declare: Callable[[BlockingChannel], Any]) -> bool:
        with self.channel() as channel:
            try:
                declare(channel)
            except pika.exceptions.ChannelClosedByBroker as error:
                if error.reply_code == 404:
                    return False
                if error.reply_code != 405:  # 405: there, but somebody else's
                    raise
            return True


def parameters(
    address: Address, vhost: str = "/", username: str = "guest", password: str = "guest", **options: Any
) -> pika.ConnectionParameters:
    """pika's connection parameters; waits are bounded so that a hang is a failure."""
    bounds = {"socket_timeout": 10, "stack_timeout": 15, "blocked_connection_timeout": 20}
    return pika.ConnectionParameters(
        host=HOST,
        port=address.port,
        virtual_host=vhost,
        credentials=pika.PlainCredentials(username, password),
        **{**bounds, **options},
    )


def connections_named(node: Node, name: str) -> list[dict[str, Any]]:
    """The node's connections whose client calls itself `name`."""
    assert node.management is not None
    found = node.management.connections()
    return [item for item in found if item["client_properties"].get("connection_name") == name]


def plain_config(node: Node, **options: Any) -> dict[str, Any]:
    """One upstream."""
    return {"upstreams": [{"name": "a", "address": node.address}], **options}


def fan_config(node_a: Node, node_b: Node, **options: Any) -> dict[str, Any]:
    """Upstream a, which gets what nobody else wants, and upstream b."""
    upstream_a = {"name": "a", "address": node_a.address}
    upstream_b = {"name": "b", "address": node_b.address, "routing": {"key_patterns": list(KEYS_OF_B)}}
    return {"upstreams": [upstream_a, upstream_b], **options}


@define
class Target:
    """The address under test.  Connections made through it are closed when the test ends."""

    id: str
    address: Address
    nodes: Mapping[str, Node]
    witnesses: Mapping[str, Witness]
    _opened: list[Any] = field(factory=list)

    @property
    def links(self) -> int:
        return len(self.nodes)

    @property
    def is_proxied(self) -> bool:
        return self.id not in ("direct", "embedded")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.address.port}/%2f"

    @property
    def places(self) -> list[Witness]:
        """One witness per node."""
        return list(self.witnesses.values())

    def node(self, upstream: str) -> Node:
        return self.nodes.get(upstream, self.nodes["a"])

    def at(self, upstream: str) -> Witness:
        return self.witnesses.get(upstream, self.witnesses["a"])

    def key_for(self, upstream: str, name: str) -> str:
        """A routing key that goes to `upstream`; as a queue name it makes the default exchange do that."""
        return f"{upstream}.{name}"

    def connect(self, **options: Any) -> BlockingConnection:
        """A pika connection through the target."""
        connection = BlockingConnection(parameters(self.address, **options))
        self._opened.append(connection)
        return connection

    def channel(self, **options: Any) -> BlockingChannel:
        """A channel on a connection of its own."""
        return self.connect(**options).channel()

    def raw(self, **options: Any) -> RawClient:
        """A raw connection through the target."""
        client = RawClient.open(HOST, self.address.port, **options)
        self._opened.append(client)
        return client

    def dial(self) -> RawClient:
        """A TCP connection to the target on which nothing was said yet."""
        client = RawClient.dial(HOST, self.address.port)
        self._opened.append(client)
        return client

    def spread_queue(self, channel: BlockingChannel, stem: str = "spread", **options: Any) -> str:
        """A queue of the same name on every node, into which `publish_to` publishes."""
        queue = unique(stem)
        channel.queue_declare(queue, **options)
        for upstream in ("a", "b"):
            channel.queue_bind(queue, SPREAD_EXCHANGE, self.key_for(upstream, queue))
        return queue

    def publish_to(self, channel: BlockingChannel, upstream: str, queue: str, body: bytes, **options: Any) -> None:
        """Publishes to a `spread_queue`, on one upstream."""
        channel.basic_publish(SPREAD_EXCHANGE, self.key_for(upstream, queue), body, **options)

    def fill(self, queue: str, each: int) -> list[bytes]:
        """Puts `each` messages for a and `each` for b straight into the nodes' queue; all bodies."""
        bodies = []
        for upstream in ("a", "b"):
            batch = [f"{upstream}{number}".encode() for number in range(each)]
            self.at(upstream).put(queue, *batch)
            bodies += batch
        return bodies

    def depth(self, queue: str) -> int:
        """Ready messages on all nodes together."""
        return sum(witness.depth(queue) for witness in self.places)

    def close_all(self) -> None:
        """Closes what the test opened and left open."""
        for connection in self._opened:
            if isinstance(connection, RawClient):
                connection.close()
            elif connection.is_open:
                try:
                    connection.close()
                except pika.exceptions.AMQPError:
                    pass  # the peer was quicker
        self._opened.clear()
