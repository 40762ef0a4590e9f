"""A plain session whose upstream calls queues differently: what names a queue is taken frame by frame.

Lives here: which common methods are no common case then, and channels that trabbits has to close itself because of a
name that the upstream cannot have.
Must not know: how names are changed (``renaming.py``; `Link` and `Session` do it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.log_ids import LogId
from trabbits.session.link import Link
from trabbits.session.plain import PlainRelay
from trabbits.session.plain_channel import ChannelState
from trabbits.session.renamed_content import unless_named
from trabbits.session.renaming import UnusableName
from trabbits.wire import constants as amqp
from trabbits.wire.encode import channel_close, empty_method
from trabbits.wire.queue_names import NAMES_QUEUE
from trabbits.wire.scanner import DISCARD, UNDECIDED, Content, Destination, Route

if TYPE_CHECKING:
    from trabbits.session.session import Session


class _Refused:
    """A channel on its way out: `frame` is the channel.close that the client is to get, None if it asked meanwhile."""

    __slots__ = ("frame", "told")

    def __init__(self, frame: bytes) -> None:
        self.frame: bytes | None = frame
        #: Whether the client was sent `frame` and owes its close-ok; before, the link owes one.
        self.told = False


class RenamingPlainRelay(PlainRelay):
    """The relay of a session with one link, which has `Link.names`."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._refused: dict[int, _Refused] = {}
        self._accounts: dict[int, Route] = {}

    def start(self) -> None:
        super().start()
        for scanner in (self._session.client_scanner, self._link.scanner):
            self._accounts |= scanner.carrying
            scanner.carrying = {
                index: unless_named(route, NAMES_QUEUE[index]) for index, route in scanner.carrying.items()
            }

    def client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        refused = self._refused.get(channel)
        if refused is not None:
            return self._client_after_refusal(refused, index, channel)
        if channel in self._channels:
            if index == amqp.BASIC_PUBLISH:
                self._session.client_scanner.await_header(
                    lambda content, header: self._publish_whole(channel, frame, content, header)
                )
                return UNDECIDED
            assert self._link.names is not None
            try:
                self._link.names.frame_for_link(frame)
            except UnusableName as error:
                return self._refuse(index, channel, error.text)
            self._account(index, channel, frame)
        return super().client_method(index, channel, frame)

    def _publish_whole(self, channel: int, frame: bytes, content: Content, header: bytes) -> None:
        """A publish that may name queues, up to its content header."""
        try:
            message = self._link.message(frame, header)
        except UnusableName as error:
            content.destination = self._refuse(amqp.BASIC_PUBLISH, channel, error.text)
            return
        self._account(amqp.BASIC_PUBLISH, channel, frame)
        self._link.begin(*message)
        content.destination = self._to_link

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        refused = self._refused.get(channel)
        if refused is not None:
            return self._link_after_refusal(refused, index, channel)
        self._account(index, channel, frame)
        return super().link_method(link, index, channel, frame)

    def channels_at(self, link: Link) -> list[tuple[int, bool]]:
        return super().channels_at(link) + [(number, True) for number, each in self._refused.items() if not each.told]

    def _account(self, index: int, channel: int, frame: bytes) -> None:
        """What the route would have noted of a message."""
        route = self._accounts.get(index)
        if route is not None:
            route(frame, 0, len(frame), channel)

    # Channels that end with an error

    def _refuse(self, index: int, channel: int, text: str) -> Destination:
        known = self._channels.get(channel)
        if known is None or known.state is not ChannelState.OPEN:
            # On a channel that is closing, the node would not look at it.
            return DISCARD
        reply = f"{amqp.REPLY_NAMES[amqp.PRECONDITION_FAILED]} - {text}"
        self._session.log(LogId.CHANNEL_ERROR_SENT, channel=channel, code=amqp.PRECONDITION_FAILED, text=reply)
        del self._channels[channel]
        close = channel_close(channel, amqp.PRECONDITION_FAILED, reply, index >> 16, index & 0xFFFF)
        self._refused[channel] = _Refused(close)
        self._link.send(channel_close(channel, amqp.REPLY_SUCCESS, "CHANNEL_CLOSED - error of the client"))
        return DISCARD

    def _client_after_refusal(self, refused: _Refused, index: int, channel: int) -> Destination:
        if index == amqp.CHANNEL_CLOSE:
            if refused.told:
                # Both closed at once: it gets its answer and still owes us one.
                self._session.send(empty_method(channel, amqp.CHANNEL_CLOSE_OK))
            else:
                refused.frame = None
        elif index == amqp.CHANNEL_CLOSE_OK and refused.told:
            del self._refused[channel]
        return DISCARD

    def _link_after_refusal(self, refused: _Refused, index: int, channel: int) -> Destination:
        """The client hears of it when the link is done: then it can use the channel's number again at once."""
        if index == amqp.CHANNEL_CLOSE:
            # Both closed at once: its close-ok is still to come.
            self._link.send(empty_method(channel, amqp.CHANNEL_CLOSE_OK))
        elif index == amqp.CHANNEL_CLOSE_OK and not refused.told:
            if refused.frame is None:
                del self._refused[channel]
                self._session.send(empty_method(channel, amqp.CHANNEL_CLOSE_OK))
            else:
                refused.told = True
                self._session.send(refused.frame)
        return DISCARD
