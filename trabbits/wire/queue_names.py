"""Where methods name a queue, and putting another name there.

Lives here: the short string of a method frame that is a queue's name, on either way; frames with one short string
exchanged.  Must not know: which name a queue has where.

A publish, a delivery, a get-ok and a return name a queue when their exchange is the default one, the empty name: then
the routing key is a queue's name (section 3.1.3.1).

Source: argument order from the AMQP 0-9-1 XML specification.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from trabbits.wire import constants as c
from trabbits.wire.arguments import malformed
from trabbits.wire.encode import SHORT_STRING_MAX

_SIZE: Final = Struct(">I")

#: Requests that name a queue behind a ticket of 2 octets.
_NAMED_FIRST: Final[frozenset[int]] = frozenset(
    {
        c.QUEUE_DECLARE,
        c.QUEUE_BIND,
        c.QUEUE_UNBIND,
        c.QUEUE_PURGE,
        c.QUEUE_DELETE,
        c.BASIC_CONSUME,
        c.BASIC_GET,
    }
)
_TICKET_END: Final = 13
_ARGUMENTS: Final = 11


def client_queue_at(index: int, frame: bytes) -> int | None:
    """The offset of the queue's name (a short string, at its length) in a method of a client; None if it names none.

    Raises `Violation` when the strings do not fit the frame.
    """
    if index == c.BASIC_PUBLISH:
        _, after = short_string(frame, _TICKET_END)
        if after != _TICKET_END + 1:
            return None
        short_string(frame, after)
        return after
    if index not in _NAMED_FIRST:
        return None
    short_string(frame, _TICKET_END)
    return _TICKET_END


def link_queue_at(index: int, frame: bytes) -> int | None:
    """The same in a method of a broker.  Raises as `client_queue_at`."""
    if index == c.QUEUE_DECLARE_OK:
        short_string(frame, _ARGUMENTS)
        return _ARGUMENTS
    if index == c.BASIC_DELIVER:
        # Behind the consumer tag: delivery tag (8) and bits.
        exchange_at = short_string(frame, _ARGUMENTS)[1] + 9
    elif index == c.BASIC_GET_OK:
        exchange_at = _ARGUMENTS + 9
    elif index == c.BASIC_RETURN:
        # Behind the reply code (2): the reply text.
        exchange_at = short_string(frame, _ARGUMENTS + 2)[1]
    else:
        return None
    _, key_at = short_string(frame, exchange_at)
    if key_at != exchange_at + 1:
        return None
    short_string(frame, key_at)
    return key_at


def publish_names_queue(octets: bytes | bytearray, start: int) -> bool:
    """Whether the basic.publish at `start` names a queue: quicker than `client_queue_at`, nothing is checked."""
    return octets[start + _TICKET_END : start + _TICKET_END + 1] == b"\0"


def deliver_names_queue(octets: bytes | bytearray, start: int) -> bool:
    """The same for a basic.deliver."""
    at = start + 21 + octets[start + 11]
    return octets[at : at + 1] == b"\0"


def get_ok_names_queue(octets: bytes | bytearray, start: int) -> bool:
    """The same for a basic.get-ok."""
    return octets[start + 20 : start + 21] == b"\0"


def return_names_queue(octets: bytes | bytearray, start: int) -> bool:
    """The same for a basic.return."""
    at = start + 14 + octets[start + 13]
    return octets[at : at + 1] == b"\0"


#: Messages that may name a queue, and how to see whether one does.
NAMES_QUEUE: Final[dict[int, Callable[[bytes, int], bool]]] = {
    c.BASIC_PUBLISH: publish_names_queue,
    c.BASIC_DELIVER: deliver_names_queue,
    c.BASIC_GET_OK: get_ok_names_queue,
    c.BASIC_RETURN: return_names_queue,
}


def binding_key_at(index: int, frame: bytes) -> int | None:
    """The offset of the routing key of a queue.bind or queue.unbind that leaves queue and key to the broker.

    Both empty, they mean the queue that was declared last on the channel, and its name as the key
    (RabbitMQ: ``expand_routing_key_shortcut`` of rabbit_channel); None for all other methods.
    """
    if index not in (c.QUEUE_BIND, c.QUEUE_UNBIND):
        return None
    queue, exchange_at = short_string(frame, _TICKET_END)
    _, key_at = short_string(frame, exchange_at)
    key, _ = short_string(frame, key_at)
    return None if queue or key else key_at


def short_string(frame: bytes, at: int) -> tuple[bytes, int]:
    """The short string whose length stands at `at`, and the offset behind it.

    Raises `Violation` when it is not inside the arguments of the whole method frame.
    """
    end = len(frame) - 1
    after = at + 1 + frame[at] if at < end else end + 1
    if after > end:
        raise malformed(frame, 0, "its strings do not fit the frame")
    return frame[at + 1 : after], after


def with_short_string(frame: bytes, at: int, value: bytes) -> bytes:
    """The whole method frame with `value` as the short string at `at`; everything behind it moves.

    Raises `ValueError` when `value` has more than 255 octets.
    """
    if len(value) > SHORT_STRING_MAX:
        raise ValueError(f"short string of {len(value)} octets, {SHORT_STRING_MAX} are possible")
    rest = frame[at + 1 + frame[at] :]
    size = at + 1 + len(value) + len(rest) - c.FRAME_OVERHEAD
    return b"%b%b%b%b%b%b" % (frame[:3], _SIZE.pack(size), frame[7:at], bytes((len(value),)), value, rest)
