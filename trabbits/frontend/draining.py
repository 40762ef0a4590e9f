"""How sessions leave: the one place that decides which session is asked to go when, and how many at a time.

Lives here: `Draining`: a burst of sessions at once, the others at a steady rate, all of them before their deadline.
Must not know: why they have to leave, or what is said to them (``trabbits.service`` does).

A session that is still being opened is left to it and asked to leave once it is open: its client hears a reason in
place of a broken handshake.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.session.phase import ENDING, Phase
from trabbits.session.session import Session

#: Seconds between two turns at least; at a high rate several sessions leave in one turn.
TICK = 0.01
#: Seconds between two looks at the sessions that are still being opened.
OPENING_TICK = 0.05
#: Sessions asked to leave in one turn of the reactor at most, so that the others are not kept waiting.
PER_TURN = 200

_RUNNING = ENDING | {Phase.RUNNING}
_log = EventLog(Logger("trabbits"))


@frozen
class Pace:
    """`burst_size` sessions at once, then `rate_limit` per second; whoever is left after `timeout` seconds at once."""

    burst_size: int
    rate_limit: float
    timeout: float


@frozen
class Drained:
    """What became of it: so many sessions left within so many seconds."""

    sessions: int
    seconds: float


class Leaver(Protocol):
    """What is needed of a session's runner."""

    @property
    def session(self) -> Session:
        """Its session."""

    def close(self, code: int, text: str) -> None:
        """Close it properly; bounded by the session itself."""

    def abort(self) -> None:
        """Drop it."""


class Draining:
    """Sessions on their way out.  `gone` has to be called for every session that ends.  False while nobody leaves.

    Several calls of `ask` share one pace: nobody is asked twice, the earlier deadline of a session counts, and the
    latest reply and pace apply to all that were not asked yet.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        #: Not asked yet, with their deadlines; in the order in which they are asked.
        self._waiting: dict[Leaver, float] = {}
        #: The same, of those whose handshake is not over.
        self._opening: dict[Leaver, float] = {}
        #: Asked, and not gone yet.
        self._leaving: set[Leaver] = set()
        #: No deadline of a session that was not asked yet is earlier.
        self._first_deadline = inf
        self._reply = (0, "")
        self._allowance = _Allowance(clock.seconds())
        self._turn_due: Any = None
        self._in_turn = False
        self._done: list[Deferred[Drained]] = []
        self._began = 0.0
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._waiting or self._opening or self._leaving)

    def ask(self, runners: Iterable[Leaver], code: int, text: str, pace: Pace) -> None:
        """Let these sessions go with this reply.  The first ones hear of it at once."""
        now = self._clock.seconds()
        if not self:
            self._began, self._count = now, 0
        self._reply = code, text
        self._allowance.change(pace, now, backlog=bool(self._waiting))
        for runner in runners:
            if runner in self._leaving:
                continue
            known = self._waiting if runner in self._waiting else self._opening
            if runner not in known:
                self._count += 1
            known[runner] = min(known.get(runner, now + pace.timeout), now + pace.timeout)
        self._first_deadline = min(self._first_deadline, now + pace.timeout)
        self._turn()

    def spare(self, runners: Iterable[Leaver]) -> None:
        """These may stay after all, unless they were asked already."""
        for runner in runners:
            if self._waiting.pop(runner, None) is not None or self._opening.pop(runner, None) is not None:
                self._count -= 1
        self._finish()

    def when_done(self) -> Deferred[Drained]:
        """Fires when all sessions that were asked, or will be, are gone; at once when there are none."""
        if not self:
            return succeed(Drained(0, 0.0))
        done: Deferred[Drained] = Deferred()
        self._done.append(done)
        return done

    def gone(self, runner: Leaver) -> None:
        """A session ended, asked or not."""
        if not self:
            return
        self._waiting.pop(runner, None)
        self._opening.pop(runner, None)
        self._leaving.discard(runner)
        self._finish()

    def stop(self) -> None:
        """Ask nobody any more."""
        self._waiting.clear()
        self._opening.clear()
        self._cancel()
        self._finish()

    def _turn(self) -> None:
        self._cancel()
        now = self._clock.seconds()
        self._allowance.pass_time(now, backlog=bool(self._waiting))
        for runner in [each for each in self._opening if each.session.phase in _RUNNING]:
            self._waiting[runner] = self._opening.pop(runner)
        self._in_turn = True
        for runner in self._overdue(now):
            self._dismiss(runner)
        for runner in list(islice(self._waiting, min(self._allowance.left, PER_TURN))):
            self._allowance.use()
            self._dismiss(runner)
        self._in_turn = False
        self._finish()
        if self._waiting or self._opening:
            self._turn_due = self._clock.callLater(self._until_next(now), self._turn)

    def _overdue(self, now: float) -> list[Leaver]:
        """Those whose deadline has come, a turn's worth of them."""
        if now < self._first_deadline:
            return []
        deadlines = {**self._waiting, **self._opening}
        overdue = [runner for runner, deadline in deadlines.items() if deadline <= now]
        self._first_deadline = min((deadline for deadline in deadlines.values() if deadline > now), default=inf)
        if len(overdue) > PER_TURN:
            self._first_deadline = now
        return overdue[:PER_TURN]

    def _dismiss(self, runner: Leaver) -> None:
        self._waiting.pop(runner, None)
        self._opening.pop(runner, None)
        self._leaving.add(runner)
        if runner.session.phase in ENDING:
            return  # it leaves by itself, and in a bounded time
        try:
            runner.close(*self._reply)
        except Exception as error:
            _log(LogId.INTERNAL_ERROR, text="a session could not be closed", error=error)
            runner.abort()

    def _until_next(self, now: float) -> float:
        """Seconds to the next turn."""
        waits = [max(0.0, self._first_deadline - now)]
        if self._waiting:
            waits.append(max(TICK, self._allowance.wait) if self._allowance.left < 1 else 0.0)
        if self._opening:
            waits.append(OPENING_TICK)
        return min(waits)

    def _cancel(self) -> None:
        if self._turn_due is not None and self._turn_due.active():
            self._turn_due.cancel()
        self._turn_due = None

    def _finish(self) -> None:
        if self or self._in_turn:
            return
        self._cancel()
        done, self._done = self._done, []
        result = Drained(self._count, self._clock.seconds() - self._began)
        for deferred in done:
            deferred.callback(result)


class _Allowance:
    """How many sessions may be asked now.

    What was used comes back at the rate, by the clock: a turn that is late makes up for it.
    """

    def __init__(self, now: float) -> None:
        self._pace = Pace(1, 1.0, 0.0)
        self._since = now
        #: Used and not come back; below 0 while turns are late.
        self._used = 0.0

    def change(self, pace: Pace, now: float, *, backlog: bool) -> None:
        """Go on at another pace."""
        self.pass_time(now, backlog=backlog)
        self._pace = pace

    def pass_time(self, now: float, *, backlog: bool) -> None:
        """It is `now`.  Without a `backlog` in the time that passed, no more than a burst is saved up."""
        self._used -= (now - self._since) * self._pace.rate_limit
        self._since = now
        if not backlog:
            self._used = max(self._used, 0.0)

    def use(self) -> None:
        """One session was asked."""
        self._used += 1

    @property
    def left(self) -> int:
        """How many may be asked at once."""
        return max(0, int(self._pace.burst_size - self._used + 1e-6))

    @property
    def wait(self) -> float:
        """Seconds until the next one may be asked."""
        return max(0.0, (self._used + 1 - self._pace.burst_size) / self._pace.rate_limit)
