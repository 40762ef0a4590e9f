"""Headers of messages that name queues, as a client publishes them and as an upstream has them that renames queues.

Made, read and renamed by a codec that is not ours (pamqp).  Must not know: sessions, brokers.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any, Final

from attrs import frozen
from pamqp import encode, frame

#: What the names of all queues begin with at an upstream that renames them.
RENAMED: Final = "r."
_DEATHS: Final = ("x-first-death-queue", "x-last-death-queue")


@frozen
class Named:
    """Queues that a message names in its headers: further keys, and where it died before it was published."""

    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    deaths: tuple[tuple[str, str], ...] = ()
    """Queues that it died in, and the exchange that it was published to each time."""

    def entries(self, exchange: str, prefix: str, *, blind: bool = True) -> bytes:
        """Entries of a table: for a message to `exchange`, at an upstream with this prefix; with BCC if `blind`."""
        key = "" if exchange else prefix
        headers: dict[str, Any] = {}
        if self.cc:
            headers["CC"] = [key + name for name in self.cc]
        if self.bcc and blind:
            headers["BCC"] = [key + name for name in self.bcc]
        if self.deaths:
            headers["x-death"] = [
                {
                    "queue": prefix + queue,
                    "reason": "expired",
                    "exchange": source,
                    "routing-keys": [queue if source else prefix + queue],
                }
                for queue, source in self.deaths
            ]
            headers["x-last-death-queue"] = prefix + self.deaths[0][0]
        return encode.field_table(headers)[4:]


def some(random: Random, exchange: str, queues: list[str], *, room: bool, often: bool) -> Named:
    """What a publish may name.  `room`: content headers may be large; else only few names fit, and no deaths."""
    roll = random.random()
    if room and roll < (0.3 if often else 0.02):
        deaths = [(random.choice(queues), random.choice(("", "xd"))) for _ in range(random.choice((1, 2)))]
        return Named(deaths=tuple(deaths))
    if roll > (0.95 if exchange else 0.4 if often else 0.8) and (room or "dlx" not in queues):
        keys = [*queues, "nowhere"]
        cc, bcc = (tuple(random.choices(keys, k=random.choice((0, 1, 2)))) for _ in range(2))
        return Named(cc, bcc)
    return Named()


def seen(header: bytes, exchange: bytes, prefix: str = "") -> Any:
    """A content header's payload to compare, with the client's names if it has those of an upstream with this prefix.

    Headers that name no queue are compared as the octets that they are.
    """
    return _seen(header, exchange, prefix) if b"-death" in header or b"CCA" in header else header


@lru_cache(maxsize=4096)
def _seen(header: bytes, exchange: bytes, prefix: str) -> Any:
    value: Any = frame.unmarshal(b"\x02\x00\x01" + len(header).to_bytes(4, "big") + header + b"\xce")[2]
    properties = dict(value.properties)
    headers = properties["headers"]
    if headers:
        if not exchange and "CC" in headers:
            headers["CC"] = [name.removeprefix(prefix) for name in headers["CC"]]
        for death in headers.get("x-death", ()):
            death["queue"] = death["queue"].removeprefix(prefix)
            if not death["exchange"]:
                death["routing-keys"] = [key.removeprefix(prefix) for key in death["routing-keys"]]
        headers.update((name, headers[name].removeprefix(prefix)) for name in _DEATHS if name in headers)
    return value.body_size, properties
