"""Where headers of messages name queues, and putting other names there.

Lives here: the texts in a content header that are names of queues; content headers with some of them exchanged.  All
other octets stay.  Must not know: which name a queue has where, on which way a message is.

``CC`` and ``BCC`` are routing keys beside the one of basic.publish, so they name queues where the exchange is the
default one.  The others tell in which queues a message died: entries of ``x-death``, whose routing keys name queues if
the message came to the default exchange, and the first and the last of these queues.

Of several headers of one name the first one counts, as for RabbitMQ.  What has another type than RabbitMQ's stays as it
is, and so does a table that cannot be read: the broker judges.

Source: RabbitMQ, "Sender-selected Distribution" (``rabbit_basic:header_routes/1``) and "Dead Letter Exchanges"
(``rabbit_dead_letter``, from 3.13 on ``mc_amqpl``, which knows ``x-last-death-queue``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import Final

from trabbits.wire import constants as c
from trabbits.wire.errors import Violation
from trabbits.wire.headers import UNREADABLE, headers_table
from trabbits.wire.table import join_table, split_array, split_table

#: Takes a name and gives the other one.
Change = Callable[[bytes], bytes]

#: Part of the names of all headers that tell of deaths.  A content header without it has none of them.
DEATH: Final = b"-death"
#: The end of ``CC`` and ``BCC`` and the type octet of an array: the same for further routing keys.
_RECIPIENTS: Final = b"CCA"
_KEYS: Final = (b"CC", b"BCC")
_DEATHS: Final = b"x-death"
_QUEUES: Final = (b"x-first-death-queue", b"x-last-death-queue")
_ARRAY: Final = ord("A")
_TABLE: Final = ord("F")
_LONG_STRING: Final = ord("S")
_DEFAULT_EXCHANGE: Final = b"S\0\0\0\0"
_VALUE_AT: Final = 5
_SIZE: Final = Struct(">I").pack

_Values = Mapping[bytes, Callable[[bytes], bytes]]


def with_queues(frame: bytes, *, keys: Change | None, deaths: Change | None) -> bytes:
    """The whole content header frame with other names of queues; itself if that changes nothing.

    `keys` gives those in ``CC`` and ``BCC``, `deaths` those in all others; None leaves them.
    What these raise is raised on.
    """
    has_keys, has_deaths = _RECIPIENTS in frame, DEATH in frame
    if not (has_keys and keys is not None) and not (has_deaths and deaths is not None):
        return frame
    values: dict[bytes, Callable[[bytes], bytes]] = {}
    if keys is not None:
        values.update((name, lambda value: _texts(value, keys)) for name in _KEYS)
    if deaths is not None:
        values[_DEATHS] = lambda value: _items(value, _TABLE, lambda entry: _death(entry, deaths))
        values.update((name, lambda value: _sized(value, _LONG_STRING, deaths)) for name in _QUEUES)
    try:
        at, stop = headers_table(frame, 0, len(frame) - 1)
        entries = split_table(frame[at:stop])
    except (Violation, *UNREADABLE):
        return frame
    table = _changed(entries, values)
    if table == frame[at:stop]:
        return frame
    size = len(frame) - c.FRAME_OVERHEAD + len(table) - (stop - at)
    return b"".join((frame[:3], _SIZE(size), frame[7 : at - 4], _SIZE(len(table)), table, frame[stop:]))


def _death(entry: bytes, change: Change) -> bytes:
    """One table of ``x-death``, without its length."""
    entries = split_table(entry)
    values: dict[bytes, Callable[[bytes], bytes]] = {b"queue": lambda value: _sized(value, _LONG_STRING, change)}
    if next((value for key, value in entries if key == b"exchange"), b"") == _DEFAULT_EXCHANGE:
        values[b"routing-keys"] = lambda value: _texts(value, change)
    return _changed(entries, values)


def _changed(entries: Iterable[tuple[bytes, bytes]], values: _Values) -> bytes:
    """The table of these entries, with the first value of each name in `values` changed."""
    left = dict(values)
    return join_table((key, left.pop(key, _same)(value)) for key, value in entries)


def _same(value: bytes) -> bytes:
    return value


def _texts(value: bytes, change: Change) -> bytes:
    """An array, with its long strings changed."""
    return _items(value, _LONG_STRING, change)


def _items(value: bytes, kind: int, change: Change) -> bytes:
    """An array, with its items of one type changed."""
    return _sized(value, _ARRAY, lambda items: b"".join(_sized(item, kind, change) for item in split_array(items)))


def _sized(value: bytes, kind: int, change: Change) -> bytes:
    """A value that begins with its length, with what is behind it changed if it is of this type."""
    if value[0] != kind:
        return value
    changed = change(value[_VALUE_AT:])
    return value[:1] + _SIZE(len(changed)) + changed
