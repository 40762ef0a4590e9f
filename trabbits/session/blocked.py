"""connection.blocked over several links: the client is blocked while any link is.

Source: RabbitMQ, "Blocked Connection Notifications".
"""

from __future__ import annotations

from pamqp import commands

from trabbits.session.link import Link
from trabbits.wire import constants as amqp
from trabbits.wire.encode import cut_text, empty_method, method_frame


def blocked(links: list[Link], link: Link, reason: str) -> list[bytes]:
    """A node sent connection.blocked; what the client is told, if it understands that."""
    before = any(each.blocked for each in links)
    link.blocked = reason or "blocked"
    return [] if before else notice(links)


def unblocked(links: list[Link], link: Link) -> list[bytes]:
    """A node sent connection.unblocked; what the client is told."""
    before, link.blocked = link.blocked, ""
    if not before or any(each.blocked for each in links):
        return []
    return [empty_method(0, amqp.CONNECTION_UNBLOCKED)]


def notice(links: list[Link]) -> list[bytes]:
    """What a client is told when its connection is just open, or a first link is blocked."""
    link = next((each for each in links if each.blocked), None)
    if link is None:
        return []
    text = cut_text(f"{link.blocked} (upstream '{link.name}')").decode()
    return [method_frame(0, commands.Connection.Blocked(text))]
