"""Dead-lettered messages: where they go and what is written into them.

Lives here: `dead_letter`, the ``x-death`` header and the test for cycles.
Must not know: why a queue dropped a message; how it is published again.

Source: https://www.rabbitmq.com/docs/dlx; the details are those of RabbitMQ 3.10 (``rabbit_dead_letter``).
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final, NamedTuple

from trabbits.testing.broker.message import SHORT_MAX, Message, route_octets
from trabbits.testing.broker.properties import (
    EXPIRATION,
    HEADERS,
    Malformed,
    split_properties,
    table,
    with_properties,
)
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.routing_keys import further_keys
from trabbits.testing.broker.tables import integer, raw, read_table
from trabbits.wire.table import join_table, split_array, split_table

_X_DEATH: Final = b"x-death"
#: Headers that tell of the first death only.
_FIRST: Final = (b"x-first-death-reason", b"x-first-death-queue", b"x-first-death-exchange")


class Death(NamedTuple):
    """One entry of ``x-death``."""

    queue: str
    reason: str
    octets: bytes


def has_speakable_key(queue: Queue) -> bool:
    """Whether the queue's own key for dead letters, if it has one, fits a frame.

    RabbitMQ queues messages under one that does not, and then closes every connection that they are to be given to.
    """
    key = queue.settings.dead_letter_key
    return key is None or len(key.encode("utf-8", "surrogateescape")) <= SHORT_MAX


def dead_letter(queue: Queue, message: Message, reason: str, now: float) -> tuple[Message, list[str]]:
    """The message to publish to the queue's dead letter exchange, and the keys to route it by."""
    settings = queue.settings
    parts = _parts(message)
    headers = split_table(parts.get(HEADERS, b"")[4:])
    keys = [message.routing_key, *further_keys(parts.get(HEADERS, b"")[4:], blind=True)]
    # What BCC named is removed when a message is published, so here these keys are all from CC.
    headers = _with_death(headers, queue, message, reason, keys, parts.pop(EXPIRATION, None), int(now))
    if settings.dead_letter_key is not None:
        keys = [settings.dead_letter_key]
        headers = [(name, value) for name, value in headers if name != b"CC"]
    parts[HEADERS] = table(join_table(headers))
    route = route_octets(settings.dead_letter_exchange or "", keys[0])
    return Message(route, with_properties(message.header, parts), message.body), keys


def deaths(message: Message) -> list[Death]:
    """What ``x-death`` of a message says, the latest first."""
    for name, value in split_table(_parts(message).get(HEADERS, b"")[4:]):
        if name == _X_DEATH:
            return _read_deaths(value)
    return []


def is_cycle(queue: str, history: list[Death]) -> bool:
    """Whether a message that died like that came to `queue` before and no client rejected it since."""
    for death in history:
        if death.reason == "rejected":
            return False
        if death.queue == queue:
            return True
    return False


def _parts(message: Message) -> dict[int, bytes]:
    try:
        return split_properties(message.properties)
    except Malformed:  # cannot be: what is malformed is refused when it is published
        raise AssertionError("a message with malformed properties is in a queue") from None


def _read_deaths(value: bytes) -> list[Death]:
    found = []
    if value[:1] == b"A":
        for item in split_array(value[5:]):
            if item[:1] == b"F":
                entry = read_table(item[5:])
                names = [str(entry[name].value) if name in entry else "" for name in ("queue", "reason")]
                found.append(Death(names[0], names[1], item[5:]))
    return found


def _with_death(
    headers: list[tuple[bytes, bytes]],
    queue: Queue,
    message: Message,
    reason: str,
    keys: list[str],
    expiration: bytes | None,
    now: int,
) -> list[tuple[bytes, bytes]]:
    """The headers with this death in ``x-death``: an entry for each queue and reason, with a count.

    RabbitMQ sorts the names of a table that it changes, and so does this.
    """
    old = next((value for name, value in headers if name == _X_DEATH), None)
    history = [] if old is None else _read_deaths(old)
    same = [death for death in history if (death.queue, death.reason) == (queue.name, reason)]
    if same:
        story = dict(split_table(same[0].octets))
        before = integer(story[b"count"]) if b"count" in story else 0
        counted = list({**story, b"count": raw("l", before + 1)}.items())
    else:
        counted = [
            (b"count", raw("l", 1)),
            (b"reason", raw("S", reason)),
            (b"queue", raw("S", queue.name)),
            (b"time", raw("T", now)),
            (b"exchange", raw("S", message.exchange)),
            (b"routing-keys", raw("A", b"".join(raw("S", key) for key in keys))),
        ]
        if expiration is not None:
            counted.append((b"original-expiration", raw("S", expiration[1:])))
    if history:
        counted.sort(key=itemgetter(0))
    others = [death.octets for death in history if death not in same]
    entries = b"".join(raw("F", octets) for octets in [join_table(counted), *others])
    kept = [(name, value) for name, value in headers if name != _X_DEATH]
    if old is None:
        first = zip(_FIRST, (reason, queue.name, message.exchange), strict=True)
        kept = [item for item in kept if item[0] not in _FIRST] + [(name, raw("S", text)) for name, text in first]
    return sorted([*kept, (_X_DEATH, raw("A", entries))], key=itemgetter(0))
