"""The end of a channel of a fan session: closed on all links before the client may use its number again.

RabbitMQ answers channel.close when its channel is really gone, and a channel.open that comes before that is an
error.  So the client hears channel.close, or close-ok, when the last link is done with the channel.
Must not know: connection-level closing (``session.py``).
Source: AMQP 0-9-1 section 1.5.2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.log_ids import LogId
from trabbits.session.fan_channel import Closing, FanChannel
from trabbits.wire import constants as amqp
from trabbits.wire.encode import channel_close, empty_method
from trabbits.wire.peek import reply_of_close

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay
    from trabbits.session.link import Link


class Closings:
    """Closes channels."""

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay

    def client_closed(self, state: FanChannel, frame: bytes) -> None:
        """The client sent channel.close."""
        closing = state.closing
        if closing is None:
            # What the client asked before is still answered, before close-ok.
            self._begin(state, None, frame)
        elif closing.told:
            # Both closed at once: it gets its answer and still owes us one.
            self._relay.to_client(state, empty_method(state.number, amqp.CHANNEL_CLOSE_OK))
        else:
            closing.frame = None

    def client_answered(self, state: FanChannel) -> None:
        """The client sent channel.close-ok."""
        if state.closing is not None and state.closing.told:
            self._relay.channels.pop(state.number, None)

    def link_closed(self, state: FanChannel, link: Link, index: int, frame: bytes) -> None:
        """A link sent channel.close."""
        code, text, _, _ = reply_of_close(frame)
        self._relay.session.log(
            LogId.CHANNEL_CLOSED_BY_UPSTREAM, upstream=link.name, channel=state.number, code=code, text=text
        )
        state.links[link].open = False
        self._relay.to_link(state, link, empty_method(state.number, amqp.CHANNEL_CLOSE_OK))
        if state.closing is None:
            text = "CHANNEL_CLOSED - closed on another upstream"
            self._begin(state, frame, channel_close(state.number, amqp.REPLY_SUCCESS, text))
        else:
            self._finish(state)

    def link_answered(self, state: FanChannel, link: Link, index: int, frame: bytes) -> None:
        """A link sent channel.close-ok."""
        state.links[link].open = False
        state.links[link].close_sent = False
        if state.closing is not None:
            self._finish(state)

    def error(self, state: FanChannel, code: int, text: str, index: int) -> None:
        """Close a channel for a mistake of the client's that no upstream can see."""
        reply = f"{amqp.REPLY_NAMES[code]} - {text}"
        self._relay.session.log(LogId.CHANNEL_ERROR_SENT, channel=state.number, code=code, text=reply)
        frame = channel_close(state.number, code, reply, index >> 16, index & 0xFFFF)
        self._begin(
            state, frame, channel_close(state.number, amqp.REPLY_SUCCESS, "CHANNEL_CLOSED - error of the client")
        )

    def _begin(self, state: FanChannel, for_client: bytes | None, for_links: bytes) -> None:
        state.closing = Closing(for_client)
        if for_client is not None:
            state.muted = True
            state.get = None
            state.requests.clear()
        state.mark()
        self._relay.session.probing.forget(state.number)
        if self._relay.session.mirroring is not None:
            self._relay.session.mirroring.channel_closes(state.number, state.tx.copies if state.tx is not None else [])
        for consumer in state.consumers.values():
            self._relay.forget_held(consumer)
        for link, each in state.links.items():
            if each.open and not each.close_sent:
                each.close_sent = True
                self._relay.to_link(state, link, for_links)
        self._finish(state)

    def _finish(self, state: FanChannel) -> None:
        closing = state.closing
        if closing is None or closing.told or any(each.open or each.close_sent for each in state.links.values()):
            return
        if closing.frame is None:
            self._relay.to_client(state, empty_method(state.number, amqp.CHANNEL_CLOSE_OK))
            self._relay.channels.pop(state.number, None)
        else:
            closing.told = True
            self._relay.to_client(state, closing.frame)
