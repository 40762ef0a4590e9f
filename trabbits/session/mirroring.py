"""Copies of messages: collected whole on their way to the authoritative upstream, then sent to others in one go.

Messages of several of the client's channels share one channel of a copy's link, where their frames must not mix; so a
copy waits until its message is whole.  What the client published goes its own way: the authoritative link has its
octets before this module looks at them.
Lives here: which messages are under way, what may be copied, the bound on what is kept.
Must not know: how it is decided that a message is mirrored (``fan_publish.py``), what a node says about copies
(``mirror_channel.py``).
Source: AMQP 0-9-1 sections 4.2.6 (content), 1.8.3.7 (basic.publish); RabbitMQ, "Direct reply-to".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

from trabbits.interfaces import Mirrored
from trabbits.session.mirror_channel import MirrorChannel
from trabbits.wire import constants as amqp

if TYPE_CHECKING:
    from trabbits.session.link import Link
    from trabbits.session.session import Session

#: Octets of memory for messages that are under way or wait for their commit, per session: the largest body that may be
#: copied, and what its frames need besides.
KEPT_MAX: Final = 20 * 1024 * 1024
#: Octets of memory that a frame counts for beside its payload.  Frames may be small, even empty, and many.
FRAME_COST: Final = 140

#: The property reply-to of a request by direct reply-to, as it stands in a content header: RabbitMQ takes such a
#: message only on the channel on which its sender consumes.
_DIRECT_REPLY: Final = b"\x15amq.rabbitmq.reply-to"

_HEAD = Struct(">BHI").unpack_from
_HEAD_AND_BODY_SIZE = Struct(">BHI4xQ").unpack_from
_BODY_SIZE = Struct(">Q").unpack_from
#: Where the body's size stands in a content header frame.
_BODY_SIZE_AT: Final = 11
#: Octets of the shortest content header frame.
_HEADER_FRAME_MIN: Final = 22


class Copy:
    """A message that is not whole yet, or waits for its commit."""

    __slots__ = ("kept", "left", "octets", "starts", "transaction", "way")

    def __init__(self, way: Copying, method: bytes, transaction: list[Copy] | None) -> None:
        self.way = way
        self.octets = bytearray(method)
        #: Where its frames begin.
        self.starts = [0]
        #: Octets of body to come.
        self.left = 0
        #: Octets of memory that it counts for; its body counts when it is announced.
        self.kept = 0
        #: Where it waits for its commit.
        self.transaction = transaction


class Copying:
    """The destination of messages that go to `link` and are copied to `channels`."""

    __slots__ = ("_mirroring", "_to_link", "channels", "link", "max_size")

    def __init__(self, mirroring: Mirroring, link: Link, channels: tuple[MirrorChannel, ...], max_size: int) -> None:
        self._mirroring = mirroring
        self._to_link = link.out.append
        self.link = link
        self.channels = channels
        self.max_size = max_size

    def append(self, octets: bytes, /) -> None:
        self._to_link(octets)
        self._mirroring.take(octets, self)

    def begin(self, frame: bytes, header: bytes, transaction: list[Copy] | None) -> None:
        """A basic.publish of the client's, and its content header if it has come, that the link has got already.

        Copies of a `transaction` go to its list.
        """
        self._mirroring.begin(Copy(self, frame, transaction))
        if header:
            self._mirroring.take(header, self)


class Mirroring:
    """The copies of one session."""

    def __init__(self, session: Session) -> None:
        attached = {link.name: link for link in session.links}
        #: By upstream.
        self._channels = {
            each.name: MirrorChannel(each.name, attached.get(each.name), session.log)
            for each in session.settings.upstreams
        }
        #: By the client's channel.
        self._under_way: dict[int, Copy] = {}
        #: What they and those in transactions count for.
        self._kept = 0

    def way(self, link: Link, answer: Mirrored) -> Copying | None:
        """A way for messages that belong to `link` by this answer; None: there only."""
        names = dict.fromkeys(answer.copies)
        names.pop(link.name, None)
        return Copying(self, link, tuple(self._channels[name] for name in names), answer.max_size) if names else None

    def link_method(self, link: Link, index: int, frame: bytes) -> None:
        """What a node says on the channel of copies."""
        self._channels[link.name].link_method(link, index, frame)

    def outcomes(self) -> Mapping[str, tuple[int, int]]:
        """Copies for each upstream that were handed to its link, and that were dropped."""
        return {name: (each.sent, each.dropped) for name, each in self._channels.items()}

    # The client's messages

    def begin(self, copy: Copy) -> None:
        """A message is under way."""
        self._under_way[int.from_bytes(copy.octets[1:3], "big")] = copy

    def take(self, octets: bytes, way: Copying) -> None:
        """Whole frames of messages that go this way, those of several channels perhaps."""
        at, end = 0, len(octets)
        while at < end:
            kind, channel, size = _HEAD(octets, at)
            after = at + size + amqp.FRAME_OVERHEAD
            if kind == amqp.FRAME_METHOD:
                # The common case: header and one body frame stand right behind.
                if end - after >= _HEADER_FRAME_MIN:
                    kind, channel2, size, body = _HEAD_AND_BODY_SIZE(octets, after)
                    header_end = after + size + amqp.FRAME_OVERHEAD
                    stop = header_end + body + amqp.FRAME_OVERHEAD
                    if (
                        kind == amqp.FRAME_HEADER
                        and channel2 == channel
                        and 0 < body <= way.max_size
                        and stop <= end
                        and _HEAD(octets, header_end) == (amqp.FRAME_BODY, channel, body)
                        and octets.find(_DIRECT_REPLY, after, header_end) < 0
                    ):
                        _send(way, bytearray(octets[at:stop]), (0, after - at, header_end - at))
                        at = stop
                        continue
                self._under_way[channel] = Copy(way, octets[at:after], None)
            else:
                self._content(kind, channel, octets[at:after])
            at = after

    def _content(self, kind: int, channel: int, frame: bytes) -> None:
        copy = self._under_way.get(channel)
        if copy is None:
            return  # it was given up
        if kind == amqp.FRAME_BODY:
            copy.left -= len(frame) - amqp.FRAME_OVERHEAD
            reason = self._keep(copy, FRAME_COST)
        else:
            reason = self._announced(copy, frame)
        if reason:
            self._give_up(channel)
            for mirror in copy.way.channels:
                mirror.drop(reason)
            return
        copy.starts.append(len(copy.octets))
        copy.octets += frame
        if copy.left:
            return
        del self._under_way[channel]
        if copy.transaction is None:
            self._release(copy)
        else:
            copy.transaction.append(copy)

    def _announced(self, copy: Copy, header: bytes) -> str:
        """The body is to come: why the message cannot be copied, empty if it can."""
        size: int = _BODY_SIZE(header, _BODY_SIZE_AT)[0]
        max_size = copy.way.max_size
        if size > max_size:
            return f"bodies of more than {max_size} octets are not copied"
        if _DIRECT_REPLY in header:
            return "requests by direct reply-to cannot be copied"
        copy.left = size
        return self._keep(copy, len(copy.octets) + len(header) + size + 2 * FRAME_COST)

    def _keep(self, copy: Copy, octets: int) -> str:
        """Count more for a message: why it cannot be kept, empty if it can."""
        if self._kept + octets > KEPT_MAX:
            return f"more than {KEPT_MAX} octets of messages are not whole or not committed"
        copy.kept += octets
        self._kept += octets
        return ""

    def _give_up(self, channel: int) -> None:
        """The message under way on this channel of the client's, if there is one, will not be copied."""
        copy = self._under_way.pop(channel, None)
        if copy is not None:
            self._kept -= copy.kept

    def _release(self, copy: Copy) -> None:
        self._kept -= copy.kept
        _send(copy.way, copy.octets, copy.starts)

    # The ends of transactions and channels

    def committed(self, copies: Iterable[Copy]) -> None:
        """The client commits what these are copies of."""
        for copy in copies:
            self._release(copy)

    def forget(self, copies: Iterable[Copy]) -> None:
        """What these are copies of was never published."""
        for copy in copies:
            self._kept -= copy.kept

    def channel_closes(self, number: int, uncommitted: Iterable[Copy]) -> None:
        """A channel of the client's ends: a message under way will not be whole."""
        self.forget(uncommitted)
        self._give_up(number)


def _send(way: Copying, message: bytearray, starts: Sequence[int]) -> None:
    first, *others = way.channels
    for channel in others:
        channel.send(message.copy(), starts)
    first.send(message, starts)
