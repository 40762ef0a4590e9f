"""A plain session whose upstream is asked for something else than the client asked for.

Lives here: what takes the place of the client's exchanges and bindings, and channels that trabbits has to close itself
because the upstream cannot be asked for what would come of a method.
Must not know: what rewriters want (``topology.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.log_ids import LogId
from trabbits.session.link import Link
from trabbits.session.plain import PlainRelay
from trabbits.session.plain_channel import ChannelState, PlainChannel
from trabbits.session.topology import TOPOLOGY_METHODS
from trabbits.session.unusable import UnusableMethod
from trabbits.wire import constants as amqp
from trabbits.wire.encode import channel_close, empty_method
from trabbits.wire.scanner import DISCARD, Destination

if TYPE_CHECKING:
    from trabbits.session.session import Session


class _Refused:
    """A channel on its way out: `frame` is the channel.close that the client is to get, None if it asked meanwhile."""

    __slots__ = ("frame", "told")

    def __init__(self, frame: bytes) -> None:
        self.frame: bytes | None = frame
        #: Whether the client was sent `frame` and owes its close-ok; before, the link owes one.
        self.told = False


class RewritingPlainRelay(PlainRelay):
    """The relay of a session with one link whose upstream has rewriters."""

    def __init__(self, session: Session, link: Link) -> None:
        super().__init__(session, link)
        self._topology = link.topology
        self._refused: dict[int, _Refused] = {}

    def client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        refused = self._refused.get(channel)
        if refused is not None:
            return self._client_after_refusal(refused, index, channel)
        known = self._channels.get(channel)
        if known is not None:
            try:
                frame = self._changed(known, index, channel, frame)
            except UnusableMethod as error:
                return self._refuse(index, channel, error.text)
        return super().client_method(index, channel, frame)

    def _changed(self, known: PlainChannel, index: int, channel: int, frame: bytes) -> bytes:
        """What `Link.send` is to get for the client's method.  Raises `UnusableMethod`."""
        if self._topology is None or index not in TOPOLOGY_METHODS or known.state is not ChannelState.OPEN:
            return frame
        return self._topology.frame_for_link(frame, known.last_queue)

    def _declare(self, known: PlainChannel, channel: int, frame: bytes) -> Destination:
        try:
            return super()._declare(known, channel, frame)
        except UnusableMethod as error:
            return self._refuse(amqp.QUEUE_DECLARE, channel, error.text)

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        refused = self._refused.get(channel)
        if refused is not None:
            return self._link_after_refusal(refused, index, channel)
        return super().link_method(link, index, channel, frame)

    def channels_at(self, link: Link) -> list[tuple[int, bool]]:
        return super().channels_at(link) + [(number, True) for number, each in self._refused.items() if not each.told]

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
