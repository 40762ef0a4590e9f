"""Queues that one upstream calls differently: frames that name one are changed on the way up, and back on the way down.

Lives here: `QueueNames`, the names of one link.  The session and all its parts know the client's names only:
`Link.send` and `Session` change frames at the link's edge, what trabbits asks for itself uses `Link.queue_name`.
Must not know: how names are made (`IQueueRenamer`), what a method means beyond the queue that it names.

What stays as it is, whoever the renamer is: the empty name ("the queue declared last on this channel"), names of
brokers (``amq.``, direct reply-to among them) and trabbits' own for server-named queues, and octets that are not UTF-8,
which name no queue.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import evolve

from trabbits.interfaces import IQueueRenamer
from trabbits.log_ids import LogId
from trabbits.session.declares import GENERATED_QUEUE
from trabbits.session.rewriting import RenamerChain
from trabbits.session.unusable import UnusableMethod
from trabbits.wire import constants as amqp
from trabbits.wire.declare import build_declare, parse_declare
from trabbits.wire.encode import SHORT_STRING_MAX, channel_close
from trabbits.wire.peek import reply_of_close
from trabbits.wire.queue_headers import with_queues
from trabbits.wire.queue_names import (
    binding_key_at,
    client_queue_at,
    link_queue_at,
    publish_names_queue,
    short_string,
    with_short_string,
)
from trabbits.wire.table import override, split_table

#: Names remembered per link and direction.
NAMES_MAX: Final = 1_000

_RESERVED: Final = (b"amq.", GENERATED_QUEUE)
_LETTER_EXCHANGE: Final = b"x-dead-letter-exchange"
_LETTER_KEY: Final = b"x-dead-letter-routing-key"
_EMPTY_TEXT: Final = b"S\0\0\0\0"
_TEXT_AT: Final = 5
#: How RabbitMQ names a queue in texts (``rabbit_misc:rs``), maybe cut off at the end (``rabbit_misc`` again).
_QUOTED: Final = re.compile(r"(?P<before>queue ')(?P<name>.*?)(?P<after>' in vhost '|\.\.\.$)", re.DOTALL)


class UnusableName(UnusableMethod):
    """A queue that an upstream cannot have under this name, or a method that does not fit a frame with it."""


class QueueNames:
    """What one link's upstream calls the client's queues.

    What a renamer raises (`PluginFailed`) is raised on.  `frame_max` is the link's, `client_frame_max` the client's.
    """

    def __init__(
        self,
        renamer: IQueueRenamer | RenamerChain,
        upstream: str,
        frame_max: int,
        client_frame_max: int,
        log: Callable[..., None],
    ) -> None:
        self._renamer = renamer
        self._upstream = upstream
        self._at = f"upstream '{upstream}' renames queues"
        self._frame_max = frame_max
        self._client_frame_max = client_frame_max
        self._log = log
        #: Whether the log says that headers do not fit.
        self._told = False
        self._renamed: dict[bytes, bytes] = {}
        self._original: dict[bytes, bytes] = {}
        #: Channel -> the client's name of the queue declared last.
        self._last: dict[int, bytes] = {}

    # Names

    def renamed(self, queue: bytes) -> bytes:
        """What the upstream calls the client's `queue`.  Raises `UnusableName`."""
        known = self._renamed.get(queue)
        if known is None:
            known = self._make(queue)
            _remember(self._renamed, queue, known)
        return known

    def original(self, queue: bytes) -> bytes:
        """What the client calls the upstream's `queue`."""
        known = self._original.get(queue)
        if known is None:
            known = self._undo(queue)
            _remember(self._original, queue, known)
        return known

    def _make(self, queue: bytes) -> bytes:
        name = _text(queue)
        if name is None:
            return queue
        renamed = self._renamer.renamed(name).encode()
        at = self._at
        if len(renamed) > SHORT_STRING_MAX:
            size = f"{len(renamed)} octets, {SHORT_STRING_MAX} are possible"
            raise UnusableName(f"{at}, and its name for queue '{name}' would have {size}")
        if not renamed or renamed.startswith(_RESERVED):
            raise UnusableName(f"{at}, and its name '{renamed.decode()}' for queue '{name}' is reserved")
        original = self._renamer.original(renamed.decode())
        if original != name:
            text = f"{at}, and its name '{renamed.decode()}' for queue '{name}' means queue '{original}'"
            raise UnusableName(text)
        return renamed

    def _undo(self, queue: bytes) -> bytes:
        name = _text(queue)
        if name is None:
            return queue
        original = self._renamer.original(name).encode()
        is_name = 0 < len(original) <= SHORT_STRING_MAX and not original.startswith(_RESERVED)
        return original if is_name else queue

    # Frames

    def frame_for_link(self, frame: bytes) -> bytes:
        """A whole method frame on its way up.  Raises `UnusableName`, and `Violation` when it cannot be read."""
        index = int.from_bytes(frame[7:11], "big")
        if index == amqp.QUEUE_DECLARE:
            changed = self._declare(frame)
        elif (at := client_queue_at(index, frame)) is not None:
            changed = self._with_name(frame, at)
            if (at := binding_key_at(index, changed)) is not None:
                # The broker would put its own name there, and the client publishes with the one that it knows.
                changed = with_short_string(changed, at, self._last.get(_channel(frame), b""))
        else:
            if index == amqp.CHANNEL_OPEN:
                self._last.pop(_channel(frame), None)
            return frame
        if len(changed) > self._frame_max:
            raise UnusableName(f"{self._at}, and a method of {len(changed)} octets is too large for it")
        return changed

    def _with_name(self, frame: bytes, at: int) -> bytes:
        queue, _ = short_string(frame, at)
        renamed = self.renamed(queue)
        return frame if renamed == queue else with_short_string(frame, at, renamed)

    def _declare(self, frame: bytes) -> bytes:
        fields = parse_declare(frame)
        arguments = self._dead_letters(fields.arguments)
        changed = evolve(fields, queue=self.renamed(fields.queue), arguments=arguments)
        if fields.queue:
            self._last[_channel(frame)] = fields.queue
        return frame if changed == fields else build_declare(_channel(frame), changed)

    def _dead_letters(self, arguments: bytes) -> bytes:
        """The arguments of a declare, with the queue that dead letters go to over the default exchange."""
        if _LETTER_KEY not in arguments:
            return arguments
        # Of two entries of one name the first one counts.
        entries = dict(reversed(split_table(arguments)))
        key = entries.get(_LETTER_KEY, b"")
        if entries.get(_LETTER_EXCHANGE) != _EMPTY_TEXT or not key.startswith(b"S"):
            return arguments
        queue = key[_TEXT_AT:]
        renamed = self.renamed(queue)
        return arguments if renamed == queue else override(arguments, {_LETTER_KEY.decode(): renamed})

    def frame_for_client(self, index: int, frame: bytes) -> bytes:
        """A whole method frame on its way down.  Raises `Violation` when it cannot be read."""
        at = link_queue_at(index, frame)
        if at is not None:
            queue, _ = short_string(frame, at)
            original = self.original(queue)
            return frame if original == queue else with_short_string(frame, at, original)
        if index == amqp.CHANNEL_CLOSE:
            code, text, class_id, method_id = reply_of_close(frame)
            changed = self.text_for_client(text)
            return frame if changed == text else channel_close(_channel(frame), code, changed, class_id, method_id)
        return frame

    def header_for_link(self, publish: bytes, header: bytes) -> bytes:
        """The content header behind a basic.publish of the client's.  Raises `UnusableName`.

        Names of queues that the message died in are left where the upstream cannot have them, or where there is no room
        for them: they are no addresses.
        """
        keys = self.renamed if publish_names_queue(publish, 0) else None
        changed = with_queues(header, keys=keys, deaths=self._renamed_if_possible)
        room = max(self._frame_max, len(header))
        if len(changed) > room:
            changed = with_queues(header, keys=keys, deaths=None)
        if len(changed) > room:
            raise UnusableName(f"{self._at}, and CC and BCC in a content header of {len(changed)} octets do not fit it")
        return changed

    def _renamed_if_possible(self, queue: bytes) -> bytes:
        try:
            return self.renamed(queue)
        except UnusableName:
            return queue

    def header_for_client(self, header: bytes, *, names_queue: bool) -> bytes:
        """The content header behind a delivery, get-ok or return of the link's, whose method `names_queue` or not."""
        changed = with_queues(header, keys=self.original if names_queue else None, deaths=self.original)
        if len(changed) <= max(self._client_frame_max, len(header)):
            return changed
        if not self._told:
            self._told = True
            self._log(LogId.HEADERS_NOT_RENAMED, upstream=self._upstream, octets=len(changed))
        return header

    def text_for_client(self, text: str) -> str:
        """A broker's reply text with the client's names of queues."""
        return _QUOTED.sub(lambda found: found["before"] + self._shown(found["name"]) + found["after"], text)

    def _shown(self, queue: str) -> str:
        try:
            return self.original(queue.encode()).decode()
        except Exception:  # what went wrong at the broker matters more than the name in it
            return queue


def _text(queue: bytes) -> str | None:
    """The name as text; None for one that is never changed."""
    if not queue or queue.startswith(_RESERVED):
        return None
    try:
        return queue.decode()
    except UnicodeDecodeError:
        return None


def _channel(frame: bytes) -> int:
    return int.from_bytes(frame[1:3], "big")


def _remember(names: dict[bytes, bytes], queue: bytes, name: bytes) -> None:
    if len(names) >= NAMES_MAX:
        names.clear()
    names[queue] = name
