"""Content headers, read where the broker must know something and changed where it must.

Lives here: what is read of each message's properties (`read_properties`), and taking properties apart and putting them
together again.  Must not know: what is done because of a property.

Source: AMQP 0-9-1 sections 4.2.6.1 (content header) and 1.8.1 (properties of the basic class).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from attrs import frozen

from trabbits.wire.errors import Violation
from trabbits.wire.table import check_table

HEADERS: Final = 0x2000
REPLY_TO: Final = 0x0200
EXPIRATION: Final = 0x0100
USER_ID: Final = 0x0010

#: Flag and size in octets of each property in order: -1 a short string, -4 a table.
_PROPERTIES: Final = (
    (0x8000, -1), (0x4000, -1), (HEADERS, -4), (0x1000, 1), (0x0800, 1), (0x0400, -1), (REPLY_TO, -1),
    (EXPIRATION, -1), (0x0080, -1), (0x0040, 8), (0x0020, -1), (USER_ID, -1), (0x0008, -1), (0x0004, -1),
)  # fmt: skip
_LOOKED_AT: Final = frozenset({HEADERS, REPLY_TO, EXPIRATION, USER_ID})
#: Properties that are larger are read anew each time.
_REMEMBERED_SIZE: Final = 256
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")


class Malformed(Exception):
    """Properties that cannot be read."""


def split_properties(properties: bytes) -> dict[int, bytes]:
    """The properties by flag, each as the octets it was; `properties` begin with the flags.  Raises `Malformed`."""
    try:
        flags: int = _U16.unpack_from(properties)[0]
        at, found = 2, {}
        for flag, size in _PROPERTIES:
            if flags & flag:
                after = at + size
                if size == -1:
                    after = at + 1 + properties[at]
                elif size == -4:
                    after = at + 4 + int(_U32.unpack_from(properties, at)[0])
                found[flag] = properties[at:after]
                at = after
    except (struct.error, IndexError):
        raise Malformed("properties end too early") from None
    if at != len(properties):
        raise Malformed("properties do not fill the content header")
    return found


def join_properties(parts: dict[int, bytes]) -> bytes:
    """The octets of these properties, flags first."""
    flags = sum(parts)
    return _U16.pack(flags) + b"".join(parts[flag] for flag, _ in _PROPERTIES if flag in parts)


def with_properties(header: bytes, parts: dict[int, bytes]) -> bytes:
    """The content header `header` with other properties."""
    return header[:12] + join_properties(parts)


@frozen
class Properties:
    """What the broker looks at.  `headers` is the raw table without its length; texts are None where not given."""

    headers: bytes = b""
    reply_to: bytes | None = None
    expiration: bytes | None = None
    user_id: bytes | None = None


NONE: Final = Properties()


def read_properties(properties: bytes) -> Properties:
    """What the broker looks at in `properties`; `NONE` where there is nothing of it.  Raises `Malformed`."""
    if len(properties) > _REMEMBERED_SIZE:
        return _read(properties)
    return _remembered(properties)


def _read(properties: bytes) -> Properties:
    parts = split_properties(properties)
    headers = parts.get(HEADERS, b"")[4:]
    if headers:
        try:
            check_table(headers)
        except Violation as violation:
            raise Malformed(violation.text) from None
    if not parts.keys() & _LOOKED_AT:
        return NONE
    reply_to, expiration, user_id = parts.get(REPLY_TO), parts.get(EXPIRATION), parts.get(USER_ID)
    return Properties(
        headers=headers,
        reply_to=None if reply_to is None else reply_to[1:],
        expiration=None if expiration is None else expiration[1:],
        user_id=None if user_id is None else user_id[1:],
    )


#: Most publishers send the same properties again and again.
_remembered: Final = lru_cache(maxsize=1000)(_read)


def short_string(value: bytes) -> bytes:
    """A short string with its length."""
    return bytes((len(value),)) + value


def table(octets: bytes) -> bytes:
    """A table with its length."""
    return _U32.pack(len(octets)) + octets
