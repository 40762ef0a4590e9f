"""The public contract between trabbits and its plugins: zope interfaces and the plain values they exchange.

Lives here: interfaces and value classes.  Must not know: Twisted, the configuration's format, sockets, or anything
that implements these interfaces (the built-in ones are in ``trabbits.plugins``).

A plugin is found by its declaration (`Plugin` in ``trabbits.plugins.declaring``), which says what kind of thing it
makes, under which name, and which options it takes.  What it makes provides one of the interfaces here.

Every method here is called in the reactor's thread, between two reads of a socket: it must not block.  All but those
of `IConnectionPolicy` answer with a value, never with a Deferred.  An exception is reported with the plugin's name
and ends the affected session or request only; it never stops the proxy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import Factory, field, frozen
from zope.interface import Interface

#: Octets of the largest body that is copied, where a strategy does not say otherwise.
COPY_MAX: Final = 1024 * 1024


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


@frozen
class Mirrored:
    """The answer of a strategy for a message that goes to one upstream and is copied to others.

    `upstream` is authoritative: the client hears its confirms and returns, and nothing of what becomes of the copies.
    None is "no opinion", as without copies.  `copies` are names of upstreams; the authoritative one gets none.
    A message whose body has more than `max_size` octets is not copied.
    """

    upstream: str | None
    copies: tuple[str, ...] = field(converter=_names)
    max_size: int = COPY_MAX


#: What a strategy may answer.
Decision: TypeAlias = str | Mirrored | None


class IRoutingStrategy(Interface):
    """Decides which upstream gets a published message, by its exchange and routing key."""

    def route(exchange: str, routing_key: str) -> Decision:
        """Return the name of the upstream for messages published to `exchange` with `routing_key`.

        None means "no opinion": the first upstream of the session gets the message.  The same arguments must give the
        same answer for as long as the configuration lives, because trabbits asks once per distinct pair and session
        and remembers the answer.  Both arguments are at most 255 octets of UTF-8 (octets that are not UTF-8 arrive as
        lone surrogates); `exchange` is empty for the default exchange.

        Those that may answer with `Mirrored` provide `IMirroringStrategy`.
        """


class IMessageRoutingStrategy(IRoutingStrategy):
    """One that reads headers, too: trabbits asks it for every message, which costs the hot path some microseconds.

    `route` is asked where there are no headers to look at: by tools that try a key.
    """

    def route_message(exchange: str, routing_key: str, headers: Mapping[str, Any]) -> Decision:
        """Return the name of the upstream for this message, None for "no opinion"; `Mirrored` as from `route`.

        `headers` are the message's ``headers`` property, decoded when first looked at, empty without one.  It must not
        be kept or changed.
        """


class IMirroringStrategy(IRoutingStrategy):
    """One whose answers may be `Mirrored`; it may read headers as well, and provide both.

    It has no more methods than the others.  trabbits looks for it when a session begins and keeps a channel of each
    link free for copies then, so clients are offered one channel less.
    """


@frozen
class QueueDeclare:
    """A client's ``queue.declare`` (AMQP 0-9-1 section 1.7.2.1), as an upstream would get it without rewriting.

    `arguments` holds decoded AMQP field values and must not be changed.
    """

    queue: str
    passive: bool = False
    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    arguments: Mapping[str, Any] = Factory(dict)


@frozen
class QueueAttributes:
    """What a rewriter wants to differ from the client's declare; None leaves the client's value alone.

    `arguments` is laid over the client's arguments: a None value removes the client's argument of that name.
    """

    durable: bool | None = None
    auto_delete: bool | None = None
    exclusive: bool | None = None
    arguments: Mapping[str, Any] = Factory(dict)


class IQueueAttributeRewriter(Interface):
    """Changes what one upstream is asked for when a client declares a queue."""

    def rewrite(declare: QueueDeclare) -> QueueAttributes:
        """Return what this upstream shall get differently from `declare`.

        Called once per client declare and upstream, but neither for passive declares nor for queues that the
        server names.  Several rewriters of one upstream are asked in turn, each with what those before it made of the
        declare.  The queue's name cannot be changed here.
        """


@frozen
class NodeView:
    """A node of an upstream, as a selector sees it.

    `address` is ``host:port``; `labels` are those of the configuration; `links` counts the connections that this
    process has to it or is opening; `healthy` is what the health check says, `suspect` that it failed a client lately.
    """

    address: str
    labels: Mapping[str, str]
    links: int
    healthy: bool
    suspect: bool


class INodeSelector(Interface):
    """Orders the nodes of one upstream for one attempt at a connection.  Each upstream has one of its own."""

    def order(nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        """Return `nodes` in the order in which they are to be tried; what is left out is tried last.

        They are nodes that the same speaks against: trabbits tries healthy ones before suspect ones, and these before
        isolated ones, and asks for each group by itself.  `nodes` is never empty and comes in a random order.
        """


@frozen
class Visitor:
    """A client that wants in: it has logged in and named its virtual host, and waits for its ``connection.open-ok``.

    `address` is ``host:port``; `properties` is what it says about itself, decoded, and must not be changed; `session`
    is the session's id, for logs.
    """

    session: str
    address: str
    user: str
    virtual_host: str
    properties: Mapping[str, Any] = Factory(dict)


@frozen
class Refusal:
    """Why a client is not let in: the ``reply-code`` and ``reply-text`` of the connection.close that it gets.

    RabbitMQ's own codes for this are 403 ACCESS_REFUSED, 530 NOT_ALLOWED and 320 CONNECTION_FORCED.
    """

    code: int
    text: str


class IConnectionPolicy(Interface):
    """Admits clients or refuses them, and hears when an admitted one has left.  One for the whole process.

    It lives as long as its options stay the same, over reloads.
    """

    def admit(visitor: Visitor) -> Refusal | Awaitable[Refusal | None] | None:
        """Return None to admit the client, a `Refusal` otherwise; or a Deferred or coroutine that gives one of them.

        A client that leaves, or an answer that takes longer than ``policy_timeout``, cancels it; then it counts as
        refused.  With several policies, each is asked only if those before it admitted the client.
        """

    def left(visitor: Visitor) -> None:
        """A client that `admit` let in has left, whoever refused it afterwards.  Called once for each."""


class IDataPolicy(IConnectionPolicy):
    """One that also bounds how fast clients may send."""

    def received(visitor: Visitor, octets: int) -> float:
        """`octets` came from this client; return for how many seconds nothing more is read from it, 0 for none."""
