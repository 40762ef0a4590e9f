"""How often a quorum queue has delivered a message, in the message itself.

Lives here: `counted_once_more`.  Must not know: queues.

Source: https://www.rabbitmq.com/docs/quorum-queues (``x-delivery-count``).
"""

from __future__ import annotations

from typing import Final

from trabbits.testing.broker.message import Message
from trabbits.testing.broker.properties import HEADERS, split_properties, table, with_properties
from trabbits.testing.broker.tables import integer, raw
from trabbits.wire.table import join_table, split_table

_COUNT: Final = b"x-delivery-count"


def counted_once_more(message: Message) -> Message:
    """The message with its count one higher; one that has none was delivered once."""
    parts = split_properties(message.properties)
    entries = split_table(parts.get(HEADERS, b"")[4:])
    count = next((integer(value) for name, value in entries if name == _COUNT), 0)
    kept = [(name, value) for name, value in entries if name != _COUNT]
    parts[HEADERS] = table(join_table([*kept, (_COUNT, raw("l", count + 1))]))
    return Message(message.route, with_properties(message.header, parts), message.body)
