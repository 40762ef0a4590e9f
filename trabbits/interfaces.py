"""The public contract between trabbits and its plugins: zope interfaces and the plain values they exchange.

Lives here: interfaces and frozen value classes.  Must not know: Twisted, the configuration's format, sockets,
or anything that implements these interfaces (the built-in ones are in ``trabbits.plugins``).

Every method here is called in the reactor's thread, between two reads of a socket: it must not block, and
must answer with a value, not with a Deferred.  An exception is reported with the plugin's name and ends the
affected session or request only; it never stops the proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import Factory, frozen
from zope.interface import Interface


class IRoutingStrategy(Interface):
    """Decides which upstream gets a published message."""

    def route(exchange: str, routing_key: str) -> str | None:
        """Return the name of the upstream for messages published to `exchange` with `routing_key`.

        None means "no opinion": the first upstream of the configuration gets the message.  The same arguments
        must give the same answer for as long as the configuration lives, because trabbits asks once per
        distinct pair and session and remembers the answer.  Both arguments are at most 255 octets of UTF-8
        (octets that are not UTF-8 arrive as lone surrogates); `exchange` is empty for the default exchange.
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
        server names.  The queue's name cannot be changed here.
        """
