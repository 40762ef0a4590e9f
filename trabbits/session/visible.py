"""What of a session can be seen from outside, beyond its `Observation`: who it is and what is under way.

Lives here: `Visible`, the read-only side of `Session`.  Must not know: who looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trabbits.session.handshake import Handshake
    from trabbits.session.link import Link
    from trabbits.session.mirroring import Mirroring
    from trabbits.session.observation import Observation
    from trabbits.session.opening import Opening
    from trabbits.session.relay import Relay
    from trabbits.wire.scanner import Scanner


class Visible:
    """Properties of `Session` that change nothing."""

    handshake: Handshake
    opening: Opening
    relay: Relay | None
    links: list[Link]
    client_scanner: Scanner
    observation: Observation
    mirroring: Mirroring | None

    @property
    def client_capabilities(self) -> dict[str, Any]:
        """What the client said it understands."""
        return self.handshake.client_capabilities

    @property
    def client_properties(self) -> dict[str, Any]:
        """What the client said about itself in start-ok, empty before it did."""
        return self.handshake.client_properties

    @property
    def client_banner(self) -> str:
        """``platform/product/version`` of the client's own words; parts that it did not give are left out."""
        given = self.client_properties
        return "/".join(str(given[key]) for key in ("platform", "product", "version") if given.get(key))

    @property
    def user(self) -> str:
        """Who the client is, or says it is as long as nobody has agreed; empty before that is known."""
        return self.opening.user

    @property
    def virtual_host(self) -> str:
        """The virtual host the client asked for, empty before it did."""
        return self.handshake.virtual_host

    @property
    def received_frames(self) -> int:
        """Frames of the client's."""
        return self.client_scanner.frames

    @property
    def sent_frames(self) -> int:
        """Frames sent to the client, or held back for it."""
        return self.observation.own_frames + sum(link.scanner.forwarded for link in self.links)

    @property
    def channel_count(self) -> int:
        """The client's open channels."""
        return self.relay.channel_count if self.relay is not None else 0

    @property
    def consumer_count(self) -> int:
        """The client's consumers."""
        return self.relay.consumer_count if self.relay is not None else 0

    def copies(self) -> Mapping[str, tuple[int, int]]:
        """Copies of messages, by upstream: those that were handed to its link, and those that were dropped."""
        return self.mirroring.outcomes() if self.mirroring is not None else {}

    def unacknowledged(self, link: Link) -> int:
        """Deliveries of a link that the client has not settled.

        In a transaction, what was acknowledged counts as settled.
        """
        return self.relay.unacknowledged(link) if self.relay is not None else 0

    def unconfirmed(self, link: Link) -> int:
        """Publishes to a link on channels in confirm mode that it has not confirmed."""
        return self.relay.unconfirmed(link) if self.relay is not None else 0
