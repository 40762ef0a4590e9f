"""What a link tells the one who opened it.

Lives here: `ILinkReceiver`, implemented by the frontend's runner, one per link.  Must not know: txamqp, Twisted.
"""

from __future__ import annotations

from typing import Protocol


class ILinkReceiver(Protocol):
    """Events of one link.  `link_lost` and `link_closed`: at most one of them, once, and then nothing more.

    Neither comes after ``close_link`` or ``abort``.
    """

    def link_received(self, data: bytes) -> None:
        """Octets arrived; chunks begin and end anywhere."""

    def link_lost(self, reason: str) -> None:
        """The TCP connection is gone without connection.close; `reason` is a sentence naming upstream and node."""

    def link_closed(self, code: int, text: str, class_id: int, method_id: int) -> None:
        """The upstream sent connection.close with these arguments; it has been answered already."""

    def link_blocked(self, reason: str) -> None:
        """The upstream sent connection.blocked."""

    def link_unblocked(self) -> None:
        """The upstream sent connection.unblocked."""

    def link_full(self) -> None:
        """More waits to be written than the transport's mark: stop writing until `link_drained`."""

    def link_drained(self) -> None:
        """Everything has been written after `link_full`."""
