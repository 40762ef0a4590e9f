"""A plain session whose upstream calls queues differently: what names a queue is taken frame by frame.

Lives here: which common methods are no common case then, and that a name is looked at before anything is sent.
Must not know: how names are changed (``renaming.py``; `Link` and `Session` do it), how a channel is closed
because of a name that the upstream cannot have (``plain_rewriting.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.session.link import Link
from trabbits.session.plain_channel import PlainChannel
from trabbits.session.plain_rewriting import RewritingPlainRelay
from trabbits.session.renamed_content import unless_named
from trabbits.session.unusable import UnusableMethod
from trabbits.wire import constants as amqp
from trabbits.wire.peek import exchange_and_key
from trabbits.wire.queue_names import NAMES_QUEUE
from trabbits.wire.scanner import UNDECIDED, Content, Destination, Route

if TYPE_CHECKING:
    from trabbits.session.session import Session


class RenamingPlainRelay(RewritingPlainRelay):
    """The relay of a session with one link, which has `Link.names`."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._accounts: dict[int, Route] = {}

    def start(self) -> None:
        super().start()
        for scanner in (self._session.client_scanner, self._link.scanner):
            self._accounts |= scanner.carrying
            scanner.carrying = {
                index: unless_named(route, NAMES_QUEUE[index]) for index, route in scanner.carrying.items()
            }

    def client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        if index == amqp.BASIC_PUBLISH and channel in self._channels:
            exchange_and_key(frame, 0, len(frame))  # what is kept until then is no larger than these may be
            self._session.client_scanner.await_header(
                lambda content, header: self._publish_whole(channel, frame, content, header)
            )
            return UNDECIDED
        return super().client_method(index, channel, frame)

    def _changed(self, known: PlainChannel, index: int, channel: int, frame: bytes) -> bytes:
        frame = super()._changed(known, index, channel, frame)
        assert self._link.names is not None
        self._link.names.frame_for_link(frame)
        self._account(index, channel, frame)
        return frame

    def _publish_whole(self, channel: int, frame: bytes, content: Content, header: bytes) -> None:
        """A publish that may name queues, up to its content header."""
        try:
            message = self._link.message(frame, header)
        except UnusableMethod as error:
            content.destination = self._refuse(amqp.BASIC_PUBLISH, channel, error.text)
            return
        self._account(amqp.BASIC_PUBLISH, channel, frame)
        self._link.begin(*message)
        content.destination = self._to_link

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        if channel not in self._refused:
            self._account(index, channel, frame)
        return super().link_method(link, index, channel, frame)

    def _account(self, index: int, channel: int, frame: bytes) -> None:
        """What the route would have noted of a message."""
        route = self._accounts.get(index)
        if route is not None:
            route(frame, 0, len(frame), channel)
