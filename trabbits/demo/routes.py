"""Who routes where: measured at the proxy's sessions, not concluded from the configuration.

Lives here: `Routes`, which looks at the sessions from time to time.  Must not know: who asks, what is shown of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import define, field, frozen

#: What one session is: `trabbits.frontend.runner.SessionRunner`, by the attributes that are read.
Runner = Any
#: Changes of route that are remembered.
KEPT: Final = 3


@define
class Client:
    """What clients of one name have done so far, over all their sessions.

    `publishes` and `deliveries` count by upstream; `going` are the upstreams that got what was published last.
    """

    name: str
    publishes: Counter[str] = field(factory=Counter)
    deliveries: Counter[str] = field(factory=Counter)
    going: tuple[str, ...] = ()
    #: What the last look saw, to be believed when the next one sees the same.
    seen: tuple[str, ...] = ()
    connected: bool = True


@frozen
class Change:
    """A client's messages went to other upstreams from this time on, in seconds of the clock."""

    client: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    time: float


@define
class _Session:
    client: str
    runner: Runner
    publishes: Counter[str] = field(factory=Counter)
    deliveries: Counter[str] = field(factory=Counter)


class Routes:
    """Adds up what sessions have counted, by the name that their clients give themselves."""

    def __init__(self, sessions: Callable[[], Iterable[Runner]], order: Callable[[], Iterable[str]]) -> None:
        self.clients: dict[str, Client] = {}
        self.changes: list[Change] = []
        self._sessions = sessions
        self._order = order
        self._known: dict[str, _Session] = {}

    def look(self, now: float) -> None:
        """Count what has come since the last look."""
        live = {runner.session.id: runner for runner in self._sessions()}
        for key, runner in live.items():
            name = _name_of(runner.session)
            if key not in self._known and name:
                self._known[key] = _Session(name, runner)
        since: dict[str, Counter[str]] = {}
        for session in self._known.values():
            client = self.clients.setdefault(session.client, Client(session.client))
            # A session that has gone is held until its last messages are counted.
            observation = session.runner.session.observation
            publishes, deliveries = Counter(observation.publishes()), Counter(observation.deliveries())
            new = publishes - session.publishes
            client.publishes += new
            client.deliveries += deliveries - session.deliveries
            session.publishes, session.deliveries = publishes, deliveries
            since.setdefault(session.client, Counter()).update(new)
        self._known = {key: session for key, session in self._known.items() if key in live}
        connected = {session.client for session in self._known.values()}
        for name, client in self.clients.items():
            client.connected = name in connected
            self._note(client, since.get(name, Counter()), now)

    def forget_departed(self, keep: Callable[[str], bool]) -> None:
        """Forget clients that are not connected, but for those to `keep`."""
        self.clients = {name: each for name, each in self.clients.items() if each.connected or keep(name)}

    def _note(self, client: Client, new: Counter[str], now: float) -> None:
        """See whether messages go elsewhere: a look in the middle of a change sees both ways and is not believed."""
        going = tuple(name for name in self._order() if new[name])
        if not going:
            return
        if going == client.seen or not client.going:
            if client.going and going != client.going:
                self.changes = [*self.changes, Change(client.name, client.going, going, now)][-KEPT:]
            client.going = going
        client.seen = going


def _name_of(session: Any) -> str:
    """What a client calls itself: its connection's name, or its banner, or where it comes from."""
    properties = session.client_properties
    if not properties:
        return ""  # it has not said yet
    return str(properties.get("connection_name") or session.client_banner or session.address)
