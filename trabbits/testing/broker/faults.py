"""How a broker can misbehave: what happens, and when.

Lives here: what can happen, as values (`Drop`, `CloseChannel`, `CloseConnection`, `HalfOpen`, `Delay`, `SlowReading`),
and the moments for it.  Must not know: who plans it (``fault_plan.py``), how it is carried out (``line.py``).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, gt

from trabbits.wire.methods import METHODS

_INDEXES: Final = {method.name: index for index, method in METHODS.items()}


@frozen
class Drop:
    """The connection is closed without a word.  The frame of the moment, if any, is lost."""


@frozen
class CloseConnection:
    """connection.close; `text` without the code's name.  The frame of the moment is not carried out.

    At ``connection.start-ok`` this refuses the login, at ``connection.open`` the virtual host.
    """

    code: int = 320
    text: str = "closed by a test"


@frozen
class CloseChannel:
    """channel.close on the channel of the moment's frame, if it is open; without one, or on channel 0, on all that are.

    The frame of the moment is not carried out if it came from the client.  `text` is without the code's name.
    """

    code: int = 404
    text: str = "closed by a test"


@frozen
class HalfOpen:
    """From now on the connection takes everything and says nothing, not even that it is closed."""


@frozen
class Delay:
    """From now on, each frame is under way for so many seconds of the broker's clock."""

    from_client: float = field(default=0.0, validator=ge(0))
    to_client: float = field(default=0.0, validator=ge(0))


@frozen
class SlowReading:
    """From now on, no more than so many octets a second are read from the client, on average."""

    octets_per_second: float = field(validator=gt(0))


Fault: TypeAlias = Drop | CloseConnection | CloseChannel | HalfOpen | Delay | SlowReading


class Side(Enum):
    """Who sent a frame."""

    CLIENT = "client"
    BROKER = "broker"


@frozen
class Moment:
    """The `number`-th frame of a side, counted from 1; with `index`, of those that are this method."""

    side: Side
    number: int = field()
    index: int | None = None

    @number.validator
    def _counts_from_one(self, _: object, number: int) -> None:
        if number < 1:
            raise ValueError(f"frames are counted from 1, not {number}")


def from_client(number: int = 1, method: str = "") -> Moment:
    """When the `number`-th frame has come; or the `number`-th that is a `method`, such as ``basic.publish``."""
    return Moment(Side.CLIENT, number, _index(method))


def to_client(number: int = 1, method: str = "") -> Moment:
    """When the broker is about to send the `number`-th frame, or the `number`-th that is a `method`."""
    return Moment(Side.BROKER, number, _index(method))


def _index(method: str) -> int | None:
    if not method:
        return None
    if method not in _INDEXES:
        raise ValueError(f"there is no method {method!r}; they are written like basic.publish")
    return _INDEXES[method]
