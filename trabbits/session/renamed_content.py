"""Content headers where an upstream calls queues differently: which are looked at, and on what way.

A message that names no queue, as almost all do, is known by what stands behind its method: it passes as everywhere
else.  All others take the way of single frames, on which the content header is taken, too.
Lives here: telling the two apart, and the names for the client.
Must not know: which headers name a queue (``wire/queue_headers.py``), what becomes of a client's message
(``plain_renaming.py``, ``fan_publish.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from trabbits.wire.queue_headers import DEATH
from trabbits.wire.queue_names import NAMES_QUEUE
from trabbits.wire.scanner import Content, Destination, Route

if TYPE_CHECKING:
    from trabbits.session.link import Link

_CHANNEL_AND_SIZE = Struct(">HI").unpack_from


def unless_named(route: Route, names_queue: Callable[[bytes, int], bool] | None = None) -> Route:
    """The route for messages whose content header stands whole behind the method and tells of no death.

    Nor may their method be one that `names_queue`, if that is given: only then other headers matter.
    """

    def taken(octets: bytes, start: int, end: int, number: int) -> Destination | None:
        if (names_queue is not None and names_queue(octets, start)) or len(octets) < end + 7:
            return None
        # The next frame of this channel is the content header, or else a mistake that the scanner sees.
        channel, size = _CHANNEL_AND_SIZE(octets, end + 1)
        after = end + size + 8
        if channel != number or after > len(octets) or octets.find(DEATH, end, after) >= 0:
            return None
        return route(octets, start, end, number)

    return taken


def rename_back(link: Link, index: int, frame: bytes) -> None:
    """Have the content header behind this method of a link that has `Link.names` reach the client with its names.

    For a method without content nothing is to be done.
    """
    names, is_named = link.names, NAMES_QUEUE.get(index)
    if names is None or is_named is None:
        return
    names_queue = is_named(frame, 0)

    def take(content: Content, header: bytes) -> None:
        content.destination.append(names.header_for_client(header, names_queue=names_queue))

    link.scanner.await_header(take)
