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

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from attrs import Factory, frozen
from zope.interface import Interface


class IRoutingStrategy(Interface):
    """Decides which upstream gets a published message, by its exchange and routing key."""

    def route(exchange: str, routing_key: str) -> str | None:
        """Return the name of the upstream for messages published to `exchange` with `routing_key`.

        None means "no opinion": the first upstream of the session gets the message.  The same arguments must give the
        same answer for as long as the configuration lives, because trabbits asks once per distinct pair and session
        and remembers the answer.  Both arguments are at most 255 octets of UTF-8 (octets that are not UTF-8 arrive as
        lone surrogates); `exchange` is empty for the default exchange.
        """


class IMessageRoutingStrategy(IRoutingStrategy):
    """One that reads headers, too: trabbits asks it for every message, which costs the hot path some microseconds.

    `route` is asked where there are no headers to look at: by tools that try a key.
    """

    def route_message(exchange: str, routing_key: str, headers: Mapping[str, Any]) -> str | None:
        """Return the name of the upstream for this message, None for "no opinion".

        `headers` are the message's ``headers`` property, decoded when first looked at, empty without one.  It must not
        be kept or changed.
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
        declare.  The queue's name cannot be changed here: that is what `IQueueRenamer` is for.  `declare.queue` is the
        client's name, whatever the upstream calls the queue.
        """


class IQueueRenamer(IQueueAttributeRewriter):
    """One that also gives queues other names at its upstream, of which the client learns nothing.

    trabbits changes the names in everything that names a queue: declares, bindings, consumers, gets, purges, deletes,
    publishes to the default exchange and dead-lettering to it, and back again in what the upstream says.  Names that
    brokers make (``amq.``), names that trabbits makes (``trabbits.gen-``) and the empty name are never asked about.

    Both methods get and give 1 to 255 octets of UTF-8, and must answer the same for as long as queues live.  They are
    called when a name is seen first on a link, then remembered for a while.  A client cannot use a name for which
    ``original(renamed(queue))`` is another one, or for which the result is too long or of a kind that is never asked
    about: its channel is closed with 406.  So no two names become one.  Of several renamers, each gets what those
    before it made of the name; on the way back the last one is asked first.
    """

    def renamed(queue: str) -> str:
        """Return what this upstream calls the client's `queue`; the same name if it calls it so, too."""

    def original(queue: str) -> str:
        """Return the client's name of the upstream's `queue`: the inverse; `queue` itself if none becomes this one."""


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
