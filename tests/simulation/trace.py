"""What happened in a simulation, in order.

The arrows are those of the playbooks: ``c->t`` and ``c<-t`` between a client and trabbits, ``t->u`` and ``t<-u``
between trabbits and an upstream.  A frame that arrives at trabbits is noted when its last octet does, one that trabbits
sends when it is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from tests.simulation.codec import describe


class Trace:
    """The events of one run."""

    def __init__(self) -> None:
        #: Time, who, arrow or kind of event, and a frame or a text.
        self._entries: list[tuple[float, str, str, bytes | str]] = []
        self.now = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def frame(self, who: str, arrow: str, octets: bytes) -> None:
        self._entries.append((self.now, who, arrow, octets))

    def event(self, who: str, text: str) -> None:
        self._entries.append((self.now, who, "", text))

    def frames(self, since: int) -> Iterable[tuple[str, str, bytes]]:
        """The frames from this entry on: who, arrow, octets."""
        for _, who, arrow, what in self._entries[since:]:
            if isinstance(what, bytes):
                yield who, arrow, what

    def digest(self) -> str:
        """The same for the same run, anywhere."""
        digest = blake2b(digest_size=12)
        for now, who, arrow, what in self._entries:
            digest.update(f"{now:.6f} {who} {arrow} ".encode())
            digest.update(what if isinstance(what, bytes) else what.encode())
        return digest.hexdigest()

    def lines(self, last: int | None = None) -> Iterable[str]:
        """The last events for people."""
        entries = self._entries if last is None else self._entries[-last:]
        for now, who, arrow, what in entries:
            shown = f"{arrow} {describe(what)}" if isinstance(what, bytes) else f"** {what}"
            yield f"{now:9.3f} {who:4} {shown}"
