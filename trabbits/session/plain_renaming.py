"""A plain session whose upstream calls queues differently: what names a queue is taken frame by frame.

Lives here: which common methods are no common case then, and that a name is looked at before anything is sent.
Must not know: how names are changed (``renaming.py``; `Link.send` and `Session` do it), how a channel is closed
because of a name that the upstream cannot have (``plain_rewriting.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trabbits.session.link import Link
from trabbits.session.plain_channel import PlainChannel
from trabbits.session.plain_rewriting import RewritingPlainRelay
from trabbits.wire import constants as amqp
from trabbits.wire.queue_names import (
    deliver_names_queue,
    get_ok_names_queue,
    publish_names_queue,
    return_names_queue,
)
from trabbits.wire.scanner import Destination, Route

if TYPE_CHECKING:
    from trabbits.session.session import Session

#: Messages that may name a queue, and how to see whether one does.
_NAMES_QUEUE: Final[dict[int, Callable[[bytes, int], bool]]] = {
    amqp.BASIC_PUBLISH: publish_names_queue,
    amqp.BASIC_DELIVER: deliver_names_queue,
    amqp.BASIC_GET_OK: get_ok_names_queue,
    amqp.BASIC_RETURN: return_names_queue,
}


def _unless(names_queue: Callable[[bytes, int], bool], route: Route) -> Route:
    """The route for messages that name no queue."""

    def taken(octets: bytes, start: int, end: int, number: int) -> Destination | None:
        return None if names_queue(octets, start) else route(octets, start, end, number)

    return taken


class RenamingPlainRelay(RewritingPlainRelay):
    """The relay of a session with one link, which has `Link.names`."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._accounts: dict[int, Route] = {}

    def start(self) -> None:
        super().start()
        for scanner in (self._session.client_scanner, self._link.scanner):
            self._accounts |= scanner.carrying
            scanner.carrying = {index: _unless(_NAMES_QUEUE[index], route) for index, route in scanner.carrying.items()}

    def _changed(self, known: PlainChannel, index: int, channel: int, frame: bytes) -> bytes:
        frame = super()._changed(known, index, channel, frame)
        assert self._link.names is not None
        self._link.names.frame_for_link(frame)
        self._account(index, channel, frame)
        return frame

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        if channel not in self._refused:
            self._account(index, channel, frame)
        return super().link_method(link, index, channel, frame)

    def _account(self, index: int, channel: int, frame: bytes) -> None:
        """What the route would have noted of a message."""
        route = self._accounts.get(index)
        if route is not None:
            route(frame, 0, len(frame), channel)
