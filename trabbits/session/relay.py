"""What plain and fan sessions have in common: the contract of a relay, and checks that both make.

A *relay* decides what happens to every method on a channel once a session is open.  `Session` owns it and
keeps channel 0, handshake and closing to itself.
"""

from __future__ import annotations

from typing import Protocol

from trabbits.session.link import Link
from trabbits.wire import constants as amqp
from trabbits.wire.decode import unknown_method
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS, name_of
from trabbits.wire.scanner import Destination

_CONNECTION_CLASS = amqp.CONNECTION_CLOSE >> 16


class Relay(Protocol):
    """Decides about methods on channels; see `trabbits.wire.scanner` for what the answers mean."""

    def start(self) -> None:
        """Give the scanners of client and links their routes."""

    def client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        """A method of the client that no route took."""

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        """A method of an upstream that no route took."""

    @property
    def channel_count(self) -> int:
        """The client's open channels."""

    @property
    def consumer_count(self) -> int:
        """The client's consumers."""

    def unacknowledged(self, link: Link) -> int:
        """Deliveries of a link that the client has not settled."""

    def unconfirmed(self, link: Link) -> int:
        """Publishes that a link has not confirmed."""

    def channels_at(self, link: Link) -> list[tuple[int, bool]]:
        """The channels that are open at a link, each with whether it was asked to close."""

    def messages_counted(self, token: int, count: int) -> None:
        """The answer to `CountMessages`."""

    def link_full(self, link: Link) -> None:
        """See `Session.link_full`.  Must not scan: octets are being written."""

    def settle(self) -> None:
        """Called after every event while `Session.settle_due`: do what may not be done within a scan."""


def channel_not_open(index: int, channel: int) -> Violation:
    """RabbitMQ's answer to a method on a channel that is not open."""
    return Violation(
        amqp.CHANNEL_ERROR,
        f"expected 'channel.open', got {name_of(index)} on channel {channel} that is not open",
        class_id=index >> 16,
        method_id=index & 0xFFFF,
    )


def check_channel_open(channel: int, channel_max: int, *, already: bool) -> None:
    """Raises `Violation` when a client may not open this channel now."""
    ids = {"class_id": amqp.CHANNEL_OPEN >> 16, "method_id": amqp.CHANNEL_OPEN & 0xFFFF}
    if already:
        raise Violation(amqp.CHANNEL_ERROR, f"second 'channel.open' seen on channel {channel}", **ids)
    if channel > channel_max:
        raise Violation(
            amqp.NOT_ALLOWED, f"channel {channel} is above the negotiated channel_max of {channel_max}", **ids
        )


def check_from_client(index: int) -> None:
    """Raises `Violation` for a method that a client may not send on a channel.

    503 for one that only a server may send (section 1.2, command-invalid) or that belongs to channel 0 (section
    4.2.3); 540 for one that does not exist: RabbitMQ resets the connection then, as if the node had broken.
    """
    info = METHODS.get(index)
    if info is None:
        raise unknown_method(0, index)
    if info.from_client and info.class_id != _CONNECTION_CLASS:
        return
    raise Violation(
        amqp.COMMAND_INVALID,
        f"{info.name} is sent by servers only" if not info.from_client else f"{info.name} belongs to channel 0",
        class_id=info.class_id,
        method_id=info.method_id,
    )
