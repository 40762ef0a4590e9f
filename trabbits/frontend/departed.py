"""The sessions that have gone, for whoever asks afterwards what they did last.

Lives here: `Departed` and `DepartedSession`.  Must not know: who asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from trabbits.session.observation import MethodEvent, Observation

#: Sessions that are remembered.
KEPT: Final = 1000


@frozen
class DepartedSession:
    """One of them; `ended_at` is in seconds since the epoch."""

    id: str
    ended_at: float
    _observation: Observation = field(repr=False)

    def events(self) -> list[MethodEvent]:
        """Its last methods, oldest first."""
        return self._observation.events()


class Departed:
    """The last ones, by id."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, DepartedSession] = OrderedDict()
        self._awaited: dict[str, list[Callable[[], None]]] = {}

    def add(self, session: DepartedSession) -> None:
        """One more has gone."""
        self._sessions[session.id] = session
        if len(self._sessions) > KEPT:
            self._sessions.popitem(last=False)
        for tell in self._awaited.pop(session.id, ()):
            tell()

    def when(self, session_id: str, tell: Callable[[], None]) -> Callable[[], None]:
        """Call `tell`, which must not raise, once a live session has gone; returns how to give that up."""
        self._awaited.setdefault(session_id, []).append(tell)

        def give_up() -> None:
            awaited = self._awaited.get(session_id, [])
            if tell in awaited:
                awaited.remove(tell)
                if not awaited:
                    del self._awaited[session_id]

        return give_up

    def get(self, session_id: str) -> DepartedSession | None:
        """The session of this id, None when it never was or is forgotten."""
        return self._sessions.get(session_id)

    def __len__(self) -> int:
        return len(self._sessions)
