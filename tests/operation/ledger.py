"""What all clients of a load experienced: what was promised to them, what arrived, when and why they had to leave.

Must not know: connections and how they are made.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen


@frozen
class Departure:
    """A connection.close that a client was sent."""

    at: float
    code: int
    text: str
    #: The channel_max that the connection had been offered, which tells its configuration.
    channel_max: int


@define
class Ledger:
    """Written by the load's thread, read by the test's."""

    confirmed: set[bytes] = field(factory=set)
    consumed: set[bytes] = field(factory=set)
    departures: list[Departure] = field(factory=list)
    #: Everything that must not happen to a client: refused, cut off without connection.close, left without an answer.
    failures: list[str] = field(factory=list)
    redelivered: int = 0
    #: Connections that reached open-ok, and the longest times: to connect, and to open-ok in all.
    opened: int = 0
    slowest_connect: float = 0.0
    slowest_open: float = 0.0

    @property
    def lost(self) -> set[bytes]:
        """What was confirmed and has not been consumed (yet)."""
        return self.confirmed - self.consumed

    def open(self, connected: float, opened: float) -> None:
        """A connection reached open-ok, so many seconds after its client wanted one."""
        self.opened += 1
        self.slowest_connect = max(self.slowest_connect, connected)
        self.slowest_open = max(self.slowest_open, opened)

    def times_since(self, at: float) -> list[float]:
        """When clients were told to leave after `at`, in order."""
        return sorted(each.at for each in self.departures if each.at >= at)

    def check(self, expected: Sequence[tuple[int, str]]) -> None:
        """Nothing is lost, nobody failed, and nobody had to leave for another reason than those expected."""
        assert not self.failures, f"{len(self.failures)} failures, the first: {self.failures[:5]}"
        reasons = {(each.code, each.text) for each in self.departures}
        assert reasons <= set(expected), f"unexpected: {reasons - set(expected)}"
        assert not self.lost, f"{len(self.lost)} of {len(self.confirmed)} confirmed messages lost: {min(self.lost)!r}"

    def __str__(self) -> str:
        return (
            f"{len(self.confirmed)} messages confirmed, {len(self.lost)} lost, {self.redelivered} delivered again; "
            f"{self.opened} connections, {len(self.departures)} told to leave; "
            f"slowest connect {self.slowest_connect:.2f} s, slowest open-ok {self.slowest_open:.2f} s"
        )
