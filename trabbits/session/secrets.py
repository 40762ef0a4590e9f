"""connection.update-secret: a new secret for all links of a session, answered when all have taken it.

Source: RabbitMQ's extension for tokens that expire.
"""

from __future__ import annotations

from collections import deque

from pamqp import commands

from trabbits.session.actions import UpdateSecret
from trabbits.session.link import Link
from trabbits.wire.decode import decode_method


class SecretUpdates:
    """The updates under way, oldest first: for each the links that have not taken it yet."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: deque[set[Link]] = deque()

    def asked(self, frame: bytes, links: list[Link]) -> list[UpdateSecret]:
        """The client's connection.update-secret; returns what is to be done."""
        method = decode_method(frame)
        assert isinstance(method, commands.Connection.UpdateSecret)
        given = method.new_secret or b""
        secret = given if isinstance(given, str) else given.decode("utf-8", "surrogateescape")
        self._due.append(set(links))
        return [UpdateSecret(link, secret, method.reason or "") for link in links]

    def taken(self, link: Link) -> int:
        """A link took its oldest secret; returns how many updates that completed."""
        next((due for due in self._due if link in due), set()).discard(link)
        completed = 0
        while self._due and not self._due[0]:
            self._due.popleft()
            completed += 1
        return completed

    def awaited(self, link: Link) -> bool:
        """Whether a link has a secret to take."""
        return any(link in due for due in self._due)
