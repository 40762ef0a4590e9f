"""Which upstream a direct reply-to key belongs to.

A request over RabbitMQ's direct reply-to reaches its consumer with a ``reply_to`` that its broker made:
``amq.rabbitmq.reply-to.<process>.<key>``.  Only that broker can take the answer, and RabbitMQ (3.10) answers a key of
another cluster with connection.close 541.  So the keys are noted as they pass by in deliveries.

Lives here: noting keys, and the broker's node in them, which is enough for keys that were never seen.
Must not know: sessions.  One object serves all sessions of a configuration: who answers may be another client.
Source: RabbitMQ, "Direct Reply-to"; rabbit_channel:decode_fast_reply_to.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections import OrderedDict
from typing import Final

PREFIX: Final = b"amq.rabbitmq.reply-to."
#: Keys, and nodes, remembered at most.
KEYS_MAX: Final = 10_000
NODES_MAX: Final = 1_000

#: A key as it stands in a frame: a short string, its length first.
_KEY: Final = re.compile(rb"(.)(amq\.rabbitmq\.reply-to\.[A-Za-z0-9+/=._-]{1,233})", re.DOTALL)
#: External term format: version 131, a pid (old or new), an atom with a two or one octet length.
_NODE: Final = re.compile(rb"\x83[gX](?:[dv](?P<long>..)|[sw](?P<short>.))", re.DOTALL)


class ReplyKeys:
    """The keys seen so far and the upstreams they came from."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, str] = OrderedDict()
        #: None for a node name that several upstreams have.
        self._nodes: OrderedDict[bytes, str | None] = OrderedDict()

    def note(self, octets: bytes, upstream: str) -> None:
        """Octets of whole frames from this upstream, which may have keys in them."""
        for size, found in _KEY.findall(octets):
            key = found[: size[0]]
            if len(key) < size[0]:
                # Cut off, or no short string at all.
                continue
            if key in self._keys:
                # Whoever passes a key on later did not make it.
                self._keys.move_to_end(key)
                continue
            self._keys[key] = upstream
            node = node_of(key)
            if node is not None and self._nodes.setdefault(node, upstream) != upstream:
                self._nodes[node] = None
        _bound(self._keys, KEYS_MAX)
        _bound(self._nodes, NODES_MAX)

    def upstream_of(self, key: bytes) -> str | None:
        """The upstream that takes this key; None when that cannot be told."""
        found = self._keys.get(key)
        if found is None:
            node = node_of(key)
            found = self._nodes.get(node) if node is not None else None
        return found


def node_of(key: bytes) -> bytes | None:
    """The name of the broker's node as it stands in a key; None when there is none to be found."""
    process = key[len(PREFIX) :].split(b".", 1)[0]
    try:
        term = b64decode(process + b"=" * (-len(process) % 4))
    except ValueError:
        return None
    match = _NODE.match(term)
    if match is None:
        return None
    size = int.from_bytes(match["long"] or match["short"], "big")
    name = term[match.end() : match.end() + size]
    return name if len(name) == size else None


def _bound(
    table: OrderedDict[bytes, object] | OrderedDict[bytes, str] | OrderedDict[bytes, str | None], most: int
) -> None:
    while len(table) > most:
        table.popitem(last=False)
