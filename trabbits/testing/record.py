"""What a client was sent.

Lives here: `Record`, and the values in it.  Must not know: how anything was received (``client.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen
from pamqp import base, commands


@frozen
class Message:
    """A message that came: as a delivery, as the answer to a get, or returned.

    `method` is the basic.deliver, basic.get-ok or basic.return, `properties` what stands in its content header.
    """

    channel: int
    method: Any
    properties: commands.Basic.Properties
    body: bytes

    @property
    def tag(self) -> int:
        """The delivery tag."""
        return int(self.method.delivery_tag)

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers, empty without."""
        return self.properties.headers or {}


@frozen
class Confirm:
    """A basic.ack or basic.nack for published messages."""

    channel: int
    tag: int
    multiple: bool
    is_nack: bool


@frozen
class Closing:
    """A channel.close, or on channel 0 a connection.close."""

    channel: int
    code: int
    text: str


@define
class Record:
    """Everything that a client was sent, in order of its kind; `methods` has all methods in the order they came."""

    deliveries: list[Message] = field(factory=list)
    returns: list[Message] = field(factory=list)
    confirms: list[Confirm] = field(factory=list)
    closings: list[Closing] = field(factory=list)
    #: Consumer tags that the broker has cancelled.
    cancelled: list[str] = field(factory=list)
    #: Whether publishers are blocked now, and how often they have been.
    blocked: bool = False
    times_blocked: int = 0
    #: Each with its channel.
    methods: list[tuple[int, base.Frame]] = field(factory=list)
    #: Whether the socket was closed by the peer.
    ended: bool = False
    #: Numbers of published messages by channel that no confirm has come for yet.
    unconfirmed: dict[int, set[int]] = field(factory=dict)
    _taken: dict[int, set[int]] = field(factory=dict)
    _rejected: dict[int, set[int]] = field(factory=dict)

    def __str__(self) -> str:
        kinds = {
            "deliveries": len(self.deliveries),
            "returns": len(self.returns),
            "confirms": len(self.confirms),
            "cancelled": len(self.cancelled),
        }
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "nothing"
        closings = "; ".join(map(str, self.closings))
        return f"{counts}{' (' + closings + ')' if closings else ''}{', the socket was closed' if self.ended else ''}"

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of all deliveries."""
        return [each.body for each in self.deliveries]

    @property
    def confirmed(self) -> set[int]:
        """The numbers of messages on channel 1 that the broker has taken."""
        return self.confirmed_on(1)

    @property
    def rejected(self) -> set[int]:
        """The numbers of messages on channel 1 that it has not (basic.nack)."""
        return set(self._rejected.get(1, ()))

    def confirmed_on(self, channel: int) -> set[int]:
        """The numbers of messages on a channel that the broker has taken."""
        return set(self._taken.get(channel, ()))

    def closing(self, channel: int = 0) -> Closing | None:
        """Why a channel is closed, or the connection; None if it is not."""
        return next((each for each in self.closings if each.channel == channel), None)

    def note_confirm(self, confirm: Confirm) -> None:
        """One more has come."""
        self.confirms.append(confirm)
        waiting = self.unconfirmed.setdefault(confirm.channel, set())
        covered = {tag for tag in waiting if tag <= confirm.tag} if confirm.multiple else {confirm.tag}
        waiting -= covered
        (self._rejected if confirm.is_nack else self._taken).setdefault(confirm.channel, set()).update(covered)
