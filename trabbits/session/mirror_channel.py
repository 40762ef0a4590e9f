"""The channel on which copies of messages travel to one upstream: trabbits' second own channel of the link.

What a broker says about a copy, such as 404 for an exchange that it does not have, ends this channel and none of the
client's.  It is opened with the first copy behind it, and again after the broker closed it.  That the broker's
open-ok is not waited for saves a buffer: RabbitMQ takes a channel's frames in order, and can refuse channel.open only
by closing the connection.
Lives here: `MirrorChannel`, and counting what becomes of copies.
Must not know: whose messages these are, and how a copy comes about (``mirroring.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from pamqp import commands

from trabbits.log_ids import LogId
from trabbits.session.plugin_failed import PluginFailed
from trabbits.session.renaming import UnusableName
from trabbits.wire import constants as amqp
from trabbits.wire.encode import empty_method, method_frame
from trabbits.wire.peek import reply_of_close
from trabbits.wire.queue_headers import DEATH
from trabbits.wire.queue_names import publish_names_queue
from trabbits.wire.scanner import DISCARD

if TYPE_CHECKING:
    from trabbits.session.link import Link

#: Different reasons that are logged for each upstream and session: a broker's texts name exchanges.
REASONS_MAX: Final = 10

_SET_CHANNEL = Struct(">H").pack_into


class MirrorChannel:
    """The way of copies to the upstream `name`.  `link` is None if the session opened without it."""

    __slots__ = ("_append", "_flows", "_link", "_log", "_open", "_reasons", "dropped", "name", "number", "sent")

    def __init__(self, name: str, link: Link | None, log: Callable[..., None]) -> None:
        self.name = name
        self._link = link
        self._log = log
        #: Octets that routes may patch go to links as well.
        self._append: Callable[[Any], None] = link.out.append if link is not None else DISCARD.append
        self.number = link.mirror_channel if link is not None else 0
        self._open = False
        #: Whether the node lets content come (channel.flow, section 1.5.2.3).
        self._flows = True
        #: What was logged already.
        self._reasons: set[str] = set()
        #: Copies that were handed to the link, and that were not.
        self.sent = 0
        self.dropped = 0

    def send(self, message: bytearray, starts: Sequence[int]) -> None:
        """Send one whole message, which is patched for it; `starts` is where its frames begin."""
        link = self._link
        if link is not None and link.names is not None and _may_name_queues(message, starts):
            try:
                message, starts = _renamed(message, starts, link)
            except UnusableName as error:
                self.drop(error.text)
                return
            except PluginFailed as failure:  # copies are no client's business
                if self.drop(failure.told):
                    self._log(failure.entry, **failure.fields)
                return
        if link is None or not self.number:
            self.drop("it is not attached" if link is None else f"it allows only {link.own_channel} channels")
        elif not self._flows:
            self.drop("it stopped the flow of copies")
        elif link.resplits and _indivisible(message, starts) > link.frame_max:
            self.drop(f"properties that do not fit its frame_max of {link.frame_max}")
        else:
            if not self._open:
                self._open = True
                link.out.append(method_frame(self.number, commands.Channel.Open()))
            number = self.number
            for at in starts:
                _SET_CHANNEL(message, at + 1, number)
            # Neither mandatory nor immediate: these bits are the last octet of the method.
            message[starts[1] - 2] = 0
            self._append(message)
            self.sent += 1

    def drop(self, reason: str) -> bool:
        """A message is not copied; returns whether the log says so."""
        self.dropped += 1
        is_news = self._is_news(reason)
        if is_news:
            self._log(LogId.COPY_DROPPED, upstream=self.name, text=reason)
        return is_news

    def link_method(self, link: Link, index: int, frame: bytes) -> None:
        """What the node says; open-ok is no news, and nothing else is the client's business."""
        if index == amqp.CHANNEL_CLOSE:
            self._open, self._flows = False, True
            link.out.append(empty_method(self.number, amqp.CHANNEL_CLOSE_OK))
            code, text, _, _ = reply_of_close(frame)
            if self._is_news(f"{code} {text}"):
                self._log(LogId.COPY_REFUSED, upstream=self.name, node=link.node, code=code, text=text)
        elif index == amqp.CHANNEL_FLOW:
            self._flows = bool(frame[11] & 1)
            link.out.append(method_frame(self.number, commands.Channel.FlowOk(self._flows)))

    def _is_news(self, reason: str) -> bool:
        if reason in self._reasons or len(self._reasons) >= REASONS_MAX:
            return False
        self._reasons.add(reason)
        return True


def _may_name_queues(message: bytearray, starts: Sequence[int]) -> bool:
    return publish_names_queue(message, 0) or message.find(DEATH, starts[1], _header_end(message, starts)) >= 0


def _renamed(message: bytearray, starts: Sequence[int], link: Link) -> tuple[bytearray, Sequence[int]]:
    """The same message with the upstream's names of queues, and where its frames begin then."""
    method_end, header_end = starts[1], _header_end(message, starts)
    method, header = link.message(bytes(message[:method_end]), bytes(message[method_end:header_end]))
    longer = len(method) + len(header) - header_end
    changed = bytearray(b"".join((method, header, message[header_end:])))
    return changed, [0, len(method), *(at + longer for at in starts[2:])]


def _header_end(message: bytearray, starts: Sequence[int]) -> int:
    return starts[2] if len(starts) > 2 else len(message)


def _indivisible(message: bytearray, starts: Sequence[int]) -> int:
    """Octets of its largest frame beside those of the body, which can be cut."""
    return max(starts[1], _header_end(message, starts) - starts[1])
