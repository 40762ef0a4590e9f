"""An onlooker, who has watched a session from the moment it was open: it has seen every method once, where it passed.

Must not know: what methods do.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.simulation.codec import decoded
from tests.simulation.failure import demand
from tests.simulation.ledger import CLIENT_CHANNELS
from trabbits.session.observation import MethodEvent

if TYPE_CHECKING:
    from tests.simulation.surroundings import Surroundings
    from tests.simulation.trace import Trace

#: Direction, upstream, channel, method, delivery tag.
Seen = tuple[str, str, int, str, "int | None"]
_DIRECTIONS: Final = {"c->t": "c→t", "c<-t": "t→c", "t->u": "t→u", "t<-u": "u→t"}


class Onlooker:
    """Watches one session; `trace` tells what has really passed."""

    def __init__(self, surroundings: Surroundings, trace: Trace) -> None:
        self._surroundings = surroundings
        self._trace = trace
        self._since = len(trace)
        self._seen: list[Seen] = []
        surroundings.session.observation.watch(lambda events: self._seen.extend(map(_seen, events)))

    def compare(self) -> None:
        """Nothing is on its way."""
        passed = Counter(self._passed())
        # The other channels hold trabbits' own conversation.
        seen = Counter(each for each in self._seen if 0 < each[2] <= CLIENT_CHANNELS)
        missed, invented = passed - seen, seen - passed
        text = f"an onlooker of {self._surroundings.who} missed {dict(missed)} and saw {dict(invented)} that never was"
        demand(not missed and not invented, "onlookers", text)

    def _passed(self) -> list[Seen]:
        passed = []
        for who, arrow, octets in self._trace.frames(self._since):
            if who != self._surroundings.who or octets[0] != 1:
                continue
            way, _, upstream = arrow.partition(" ")
            channel = octets[1] << 8 | octets[2]
            if 0 < channel <= CLIENT_CHANNELS:
                method = decoded(octets)
                tag = getattr(method, "delivery_tag", None)
                passed.append((_DIRECTIONS[way], upstream, channel, method.name, tag))
        return passed


def _seen(event: MethodEvent) -> Seen:
    return event.direction, event.upstream, event.channel, event.method, event.arguments.get("delivery_tag")
