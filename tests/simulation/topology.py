"""Queues, exchanges and bindings that all brokers of a simulation have from the beginning, and where publishes go.

Must not know: clients, sessions.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from tests.simulation.ledger import ReportingQueue
from trabbits.interfaces import (
    Decision,
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IRoutingStrategy,
    MessageProperties,
    Mirrored,
)
from trabbits.testing.broker.exchanges import TYPES, Binding
from trabbits.testing.broker.tables import Table, Value

if TYPE_CHECKING:
    from trabbits.testing.broker import Broker

#: Name -> arguments of the declare.
QUEUES: Final[dict[str, dict[str, Any]]] = {
    "q0": {},
    "q1": {},
    "ttl": {"x-message-ttl": 700},
    "head": {"x-max-length": 2},
    "full": {"x-max-length": 2, "x-overflow": "reject-publish"},
    "dlx": {"x-message-ttl": 400, "x-dead-letter-exchange": "xd", "x-dead-letter-routing-key": "dead"},
    "dead": {},
}
EXCHANGES: Final = {"xd": "direct", "xf": "fanout", "xt": "topic", "xh": "headers"}
#: The table ``{"h": 1}``.
HEADER_TABLE: Final = b"\x00\x00\x00\x07\x01hI\x00\x00\x00\x01"


def entries_with(to: str, *, matched: bool) -> bytes:
    """Entries of the headers of a publish: where it shall go, and what the headers exchange looks at."""
    entries = b"\x01hI\x00\x00\x00\x01" if matched else b""
    if to:
        entries += b"\x02toS\x00\x00\x00" + bytes((len(to),)) + to.encode()
    return entries


def set_up(broker: Broker, queues: list[str], names: str, prefix: str) -> None:
    """Make everything at one broker, which calls all queues by their names with a prefix."""
    vhost = broker.vhost()
    for name, kind in EXCHANGES.items():
        vhost.add_exchange(TYPES[kind](name, durable=True))
    for name in queues:
        arguments: Table = {
            key: Value("signedint", value) if isinstance(value, int) else Value("longstr", value)
            for key, value in QUEUES[name].items()
        }
        queue = ReportingQueue(
            prefix + name, durable=True, auto_delete=False, owner=None, arguments=arguments,
            clock=broker.clock, timers=broker.timers, memory=broker.memory,
        )  # fmt: skip
        queue.broker = broker.name
        queue.unused = vhost.delete_queue
        vhost.add_queue(queue)
        for upstream in names:
            vhost.bind(vhost.exchanges["xd"], Binding(queue, f"{upstream}.{name}"))
    q0, q1 = vhost.queues[prefix + "q0"], vhost.queues[prefix + "q1"]
    if "dead" in queues:
        vhost.bind(vhost.exchanges["xd"], Binding(vhost.queues[prefix + "dead"], "dead"))
    vhost.bind(vhost.exchanges["xf"], Binding(q0, ""))
    vhost.bind(vhost.exchanges["xf"], Binding(q1, ""))
    vhost.bind(vhost.exchanges["xt"], Binding(q1, "*.t"))
    vhost.bind(vhost.exchanges["xh"], Binding(q0, "", b"\x01hI\x00\x00\x00\x01", {"h": Value("signedint", 1)}))


@implementer(IRoutingStrategy)
class ByKey:
    """The first word of the routing key is the upstream's name, other words are no opinion."""

    by_headers = False

    def route(self, exchange: str, routing_key: str) -> Decision:
        name = routing_key.partition(".")[0]
        return name if len(name) == 1 else None


@implementer(IMessageRoutingStrategy)
class ByHeader:
    """The header ``to`` is the upstream's name, or else the property ``app_id`` if that counts; without, no opinion."""

    by_headers = True
    #: For those that say what they read.
    header_names = ("to",)

    def __init__(self, *, app_id: bool) -> None:
        self.property_names = ("app_id",) if app_id else ()

    def route(self, exchange: str, routing_key: str) -> Decision:
        return None

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        to = properties.headers.get("to", properties.app_id if self.property_names else None)
        return to if isinstance(to, str) else None


@implementer(IMirroringStrategy)
class MirroredByKey(ByKey):
    """The same, and all other upstreams get copies."""

    def __init__(self, names: str) -> None:
        self._names = tuple(names)

    def route(self, exchange: str, routing_key: str) -> Decision:
        name = super().route(exchange, routing_key)
        assert not isinstance(name, Mirrored)
        return Mirrored(name, self._names)


@implementer(IMirroringStrategy)
class MirroredByHeader(ByHeader):
    """The same, and all other upstreams get copies."""

    def __init__(self, names: str, *, app_id: bool) -> None:
        super().__init__(app_id=app_id)
        self._names = tuple(names)

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        name = super().route_message(exchange, routing_key, properties)
        assert not isinstance(name, Mirrored)
        return Mirrored(name, self._names)


class Address:
    """Where a publish goes: exchange, key, entries of its headers, app_id, and the upstream ("" for the first that is
    attached)."""

    __slots__ = ("app_id", "entries", "exchange", "key", "upstream")

    def __init__(self, random: Random, names: str, queues: list[str], *, by_headers: bool, app_ids: bool) -> None:
        self.exchange, to, name = random.choices(("xd", "", "xf", "xt", "xh"), (60, 15, 6, 8, 8))[0], "", ""
        upstream = random.choice(names)
        if self.exchange == "xd":
            name = random.choice(queues) if random.random() < 0.92 else "nowhere"
            self.key = f"{upstream}.{name}"
        elif not self.exchange:
            self.key = random.choice(queues)
        else:
            self.key = f"{upstream}.{'t' if random.random() < 0.8 else 'x'}"
        if by_headers and random.random() < 0.8:
            to = random.choice(names)
        matched = self.exchange == "xh" and random.random() < 0.8
        self.app_id = to if app_ids and len(self.key) % 2 else ""
        self.entries = entries_with("" if self.app_id else to, matched=matched)
        if by_headers:
            self.upstream = to
        else:
            self.upstream = upstream if self.exchange else ""
