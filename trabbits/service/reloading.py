"""Reading the configuration again while the proxy runs.

Lives here: `Reloads`: one reload at a time, outside the reactor's thread.  Must not know: what a configuration is made
into (``proxy.py``).
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TooLate
from twisted.logger import Logger
from twisted.python.failure import Failure

from trabbits.config import ConfigError, Loaded, Problem
from trabbits.log_ids import LogId
from trabbits.logs import EventLog

#: Seconds that reading may take: a file on a network that is away, a Jsonnet program that does not end.
LOAD_TIMEOUT = 60.0

_log = EventLog(Logger("trabbits"))
T = TypeVar("T")


@frozen
class Reloaded:
    """What a reload did: the running configuration's hash, whether it changed, how many sessions are outdated."""

    hash: str
    changed: bool
    outdated: int
    warnings: Sequence[Problem] = ()


class ReloadImpossible(Exception):
    """There is nothing to read again, or nobody left to read it for: the process is `stopping`."""

    def __init__(self, text: str, *, stopping: bool = False) -> None:
        super().__init__(text)
        self.stopping = stopping


class Reloads:
    """Calls `load` in a thread and `apply` with what it gave.  `source` is the file's name, for errors."""

    def __init__(
        self, load: Callable[[], Loaded], apply: Callable[[Loaded], Reloaded], source: str, reactor: Any
    ) -> None:
        self._load = load
        self._apply = apply
        self._source = source
        self._reactor = reactor
        #: Waiting for the reload after the one that runs: whoever asks meanwhile may mean a newer file.
        self._asked: list[Deferred[Reloaded]] = []
        self._running = False

    def reload(self) -> Deferred[Reloaded]:
        """Read and apply.  Fails with `ConfigError` or whatever kept it from being applied; that is logged already."""
        answer: Deferred[Reloaded] = Deferred()
        self._asked.append(answer)
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._work())
        return answer

    async def _work(self) -> None:
        """One reload after the other; all that were asked for during one of them are the next one."""
        while self._asked:
            asked, self._asked = self._asked, []
            try:
                result = await self._reload()
            except Exception:
                failure = Failure()
                for answer in asked:
                    answer.errback(failure)
            else:
                for answer in asked:
                    answer.callback(result)
        self._running = False

    async def _reload(self) -> Reloaded:
        loading = in_thread(self._load, self._reactor)
        loading.addTimeout(LOAD_TIMEOUT, self._reactor)
        try:
            return self._apply(await loading)
        except ConfigError as error:
            self._refused(error)
            raise
        except TooLate:
            late = ConfigError(self._source, [Problem("", f"could not be read within {LOAD_TIMEOUT:g} s")])
            self._refused(late)
            raise late from None
        except ReloadImpossible:
            raise
        except Exception as error:
            _log(LogId.CONFIG_REFUSED, path=self._source, text=f"{type(error).__name__}: {error}", error=error)
            raise

    @staticmethod
    def _refused(error: ConfigError) -> None:
        problems = [str(problem) for problem in error.problems]
        text = f"{error.source}: {'; '.join(problems)}"
        _log(LogId.CONFIG_REFUSED, path=error.source, text=text, problems=problems)


def in_thread(function: Callable[[], T], reactor: Any) -> Deferred[T]:
    """The function's result, from a thread of its own: one that never ends does not keep the process from ending."""
    answer: Deferred[T] = Deferred(lambda deferred: None)

    def work() -> None:
        try:
            result = function()
        except BaseException:
            failure = Failure()
            reactor.callFromThread(lambda: None if answer.called else answer.errback(failure))
        else:
            reactor.callFromThread(lambda: None if answer.called else answer.callback(result))

    Thread(target=work, name="configuration", daemon=True).start()
    return answer
