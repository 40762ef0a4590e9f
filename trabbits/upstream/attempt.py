"""One piece of the way to an open link, bounded in time.

Lives here: `Attempt`.  Must not know: what is attempted.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from trabbits.upstream.errors import LinkRefused

T = TypeVar("T")


class Attempt(Generic[T]):
    """`work` for at most `timeout` seconds.  `answer` fires once and may be cancelled.

    `abort` ends whatever was begun; it is called for every outcome but success and a refusal.  `too_late` makes the
    exception for the timeout.
    """

    def __init__(
        self,
        work: Coroutine[Deferred[Any], Any, T],
        timeout: float,
        clock: IReactorTime,
        *,
        too_late: Callable[[], Exception],
        abort: Callable[[], None],
    ) -> None:
        self._too_late = too_late
        self._abort = abort
        self._over = False
        self.answer: Deferred[T] = Deferred(lambda _: self._give_up())
        self._timer = clock.callLater(timeout, self._timed_out)
        self._work = Deferred.fromCoroutine(work)
        self._work.addBoth(self._settle)

    def _settle(self, result: T | Failure) -> None:
        if self._over:
            # Given up meanwhile: `answer` is told already.
            self._abort()
            return
        self._over = True
        self._timer.cancel()
        if isinstance(result, Failure) and not result.check(LinkRefused):
            # A refused link sends its close-ok before it closes by itself.
            self._abort()
        self.answer.callback(result)

    def _timed_out(self) -> None:
        error = self._too_late()
        self._give_up()
        self.answer.errback(error)

    def _give_up(self) -> None:
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        self._work.cancel()
        self._abort()
