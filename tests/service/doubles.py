"""Stand-ins for what a service tree lives with: a reactor, a factory of clients, and somebody who reads the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver
from zope.interface import implementer

from trabbits.frontend.draining import Draining, Pace
from trabbits.log_ids import LogId
from trabbits.service.listening import ListenerService
from trabbits.session.phase import Phase


class Reactor(MemoryReactorClock):
    """Runs hooks for a running reactor at once, and what other threads ask for when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: list[Callable[[], Any]] = []
        self.stopped = 0

    def callWhenRunning(self, callable: Any, *args: Any, **kwargs: Any) -> None:
        callable(*args, **kwargs)

    def callFromThread(self, callable: Any, *args: Any, **kwargs: Any) -> None:
        self.from_threads.append(lambda: callable(*args, **kwargs))

    def stop(self) -> None:
        self.stopped += 1

    def turn(self) -> None:
        """Do what was asked for from other threads."""
        due, self.from_threads = self.from_threads, []
        for each in due:
            each()


class FakeSession:
    """A session under a configuration."""

    def __init__(self, config_hash: str) -> None:
        self.phase = Phase.RUNNING
        self.settings: Any = type("Settings", (), {"config_hash": config_hash})


class FakeRunner:
    """A client that leaves when `leave` is called; counts as its session's runner."""

    def __init__(self, factory: FakeFactory, config_hash: str) -> None:
        self.session: Any = FakeSession(config_hash)
        self.replies: list[tuple[int, str]] = []
        self.aborted = False
        self._factory = factory

    def close(self, code: int, text: str) -> None:
        self.replies.append((code, text))
        if self._factory.polite:
            self.leave()

    def abort(self) -> None:
        self.aborted = True
        self.leave()

    def leave(self) -> None:
        self._factory.forget(self)


class FakeFactory:
    """Counts as `SessionFactory`; clients leave when they are asked to if they are `polite`."""

    def __init__(self, reactor: Reactor, clients: int = 0, *, polite: bool = False) -> None:
        self.polite = polite
        self.draining = Draining(reactor)
        self.sessions: dict[str, Any] = {}
        self.listener: ListenerService | None = None
        #: What was asked for, and whether the proxy still listened at that time.
        self.asked: list[tuple[int, str, Pace, bool]] = []
        self._empty: Deferred[None] | None = None
        self.connect(clients)

    def connect(self, clients: int, config_hash: str = "") -> list[FakeRunner]:
        """So many clients more."""
        runners = [FakeRunner(self, config_hash) for _ in range(clients)]
        self.sessions.update({f"proxy-{id(runner)}": runner for runner in runners})
        return runners

    def close_sessions(
        self, code: int, text: str, pace: Pace, which: Callable[[Any], bool] = lambda runner: True
    ) -> int:
        self.asked.append((code, text, pace, self.listener is not None and bool(self.listener.running)))
        leaving = [runner for runner in self.sessions.values() if which(runner)]
        self.draining.spare([runner for runner in self.sessions.values() if not which(runner)])
        self.draining.ask(leaving, code, text, pace)
        return len(leaving)

    def abort_all(self) -> int:
        self.draining.stop()
        left = list(self.sessions.values())
        for runner in left:
            runner.abort()
        return len(left)

    def when_empty(self) -> Deferred[None]:
        if not self.sessions:
            return succeed(None)
        self._empty = Deferred()
        return self._empty

    def forget(self, runner: FakeRunner) -> None:
        self.sessions.pop(f"proxy-{id(runner)}", None)
        self.draining.gone(runner)
        if not self.sessions and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)


@implementer(ILogObserver)
class Events:
    """Every event that is logged in the meantime."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        self.all.append(event)

    @property
    def entries(self) -> list[LogId]:
        """What of the catalogue."""
        return [event["log_entry"] for event in self.all if "log_entry" in event]

    def fields(self, entry: LogId) -> list[dict[str, Any]]:
        """The fields of every line of this kind."""
        return [event["log_fields"] for event in self.all if event.get("log_entry") is entry]

    def without(self, *entries: LogId) -> Iterable[LogId]:
        """All but these."""
        return [entry for entry in self.entries if entry not in entries]
