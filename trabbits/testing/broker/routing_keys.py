"""Further routing keys in a message's headers: CC and BCC.

Lives here: reading them, and taking BCC away.  Must not know: exchanges, queues.

Source: https://www.rabbitmq.com/docs/sender-selected.
"""

from __future__ import annotations

from typing import Final

from trabbits.testing.broker.errors import failed
from trabbits.testing.broker.tables import read_value
from trabbits.wire.table import join_table, split_array, split_table

_NAMES: Final = (b"CC", b"BCC")


def further_keys(headers: bytes, *, blind: bool) -> list[str]:
    """The keys in CC, and in BCC if `blind`; `headers` is a raw table without its length.  Raises `Refused` 406."""
    if b"CC" not in headers:
        return []
    keys = []
    for name, value in split_table(headers):
        if name in (_NAMES if blind else _NAMES[:1]):
            if value[:1] != b"A":
                kind = read_value(value).kind
                raise failed(f'invalid message: {{unacceptable_type_in_header,"{name.decode()}",{kind}}}')
            items = split_array(value[5:])
            keys += [item[5:].decode("utf-8", "surrogateescape") for item in items if item[:1] == b"S"]
    return keys


def without_blind(headers: bytes) -> bytes:
    """The table without BCC."""
    return join_table((name, value) for name, value in split_table(headers) if name != _NAMES[1])
