"""What the broker refuses, with RabbitMQ's codes and words.

Lives here: `Refused`, which reply codes end a connection, and the sentences that several methods need.
Must not know: who asked, how a refusal is sent.

Source: AMQP 0-9-1 section 1.2 (reply codes, soft and hard errors); the texts are those of RabbitMQ 3.10.
"""

from __future__ import annotations

from typing import Final

from trabbits.wire import constants as c

#: The errors that end a channel; all others end the connection (section 1.2: soft and hard errors).
SOFT: Final[frozenset[int]] = frozenset(
    {
        c.CONTENT_TOO_LARGE,
        c.NO_ROUTE,
        c.NO_CONSUMERS,
        c.ACCESS_REFUSED,
        c.NOT_FOUND,
        c.RESOURCE_LOCKED,
        c.PRECONDITION_FAILED,
    }
)

#: So many octets of a frame's payload are shown where it makes no sense.
_SNIPPET: Final = 16


class Refused(Exception):
    """What a client asked for is not done.

    `code` and `text` are those of channel.close or connection.close; `class_id` and `method_id` name the method that
    failed, and are 0 where none did or where whoever catches this knows better.
    """

    def __init__(self, code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.class_id = class_id
        self.method_id = method_id

    @property
    def hard(self) -> bool:
        """Whether the connection ends, and not only the channel."""
        return self.code not in SOFT

    @property
    def reply_text(self) -> str:
        return f"{c.REPLY_NAMES.get(self.code, 'ERROR')} - {self.text}"


def resource(kind: str, name: str, vhost: str) -> str:
    """How RabbitMQ writes a queue or exchange: ``queue 'q' in vhost '/'``."""
    return f"{kind} '{name}' in vhost '{vhost}'"


def not_found(kind: str, name: str, vhost: str) -> Refused:
    """There is no such queue or exchange."""
    return Refused(c.NOT_FOUND, f"no {resource(kind, name, vhost)}")


def locked(name: str, vhost: str) -> Refused:
    """An exclusive queue of another connection."""
    return Refused(
        c.RESOURCE_LOCKED,
        f"cannot obtain exclusive access to locked {resource('queue', name, vhost)}. It could be originally declared "
        "on another connection or the exclusive property value does not match that of the original declaration.",
    )


def failed(text: str) -> Refused:
    """406, the precondition that failed."""
    return Refused(c.PRECONDITION_FAILED, text)


def reserved(kind: str, name: str) -> Refused:
    """Names that begin with ``amq.`` are the broker's."""
    return Refused(c.ACCESS_REFUSED, f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def default_exchange() -> Refused:
    """Nobody may change the default exchange."""
    return Refused(c.ACCESS_REFUSED, "operation not permitted on the default exchange")


def frame_error(kind: int, payload: bytes, why: str) -> Refused:
    """A frame that cannot be one."""
    return Refused(c.FRAME_ERROR, f"type {kind}, {_snippet(payload)}: {why}")


def unexpected(kind: int, payload: bytes) -> Refused:
    """A frame where none of its type may be."""
    return Refused(c.UNEXPECTED_FRAME, f"type {kind}, {_snippet(payload)}")


def undecodable(index: int, arguments: bytes) -> Refused:
    """A method whose arguments cannot be read."""
    return Refused(c.FRAME_ERROR, f"cannot decode {binary(arguments)}", index >> 16, index & 0xFFFF)


def binary(octets: bytes) -> str:
    """Octets as Erlang prints them: ``<<1,2,3>>``."""
    return f"<<{','.join(map(str, octets))}>>"


def _snippet(payload: bytes) -> str:
    which = "all" if len(payload) <= _SNIPPET else f"first {_SNIPPET}"
    return f"{which} octets = {binary(payload[:_SNIPPET])}"
