"""Keeps a key set up to date for as long as some mechanism uses it.

trabbits does not tell a mechanism when it is replaced: after a reload, a login under way may still hold the old one. So
nothing here holds the mechanism, only a weak reference to it; when it goes, the refreshing ends.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from trabbits_jwt_auth.keys import KeySet

if TYPE_CHECKING:
    from jwt import PyJWK

_log = Logger()


class Holder(Protocol):
    """Whoever uses the key set."""

    keys: KeySet


class Refresh:
    """Reads the set every `interval` seconds; `soon` asks for a reading ahead of time, at most one per `least`."""

    def __init__(self, holder: Holder, interval: float, least: float, reactor: Any) -> None:
        self._holder = weakref.ref(holder)
        self._interval = interval
        self._least = least
        self._reactor = reactor
        self._last = -least
        self._reading = False
        self._call: Any = None

    def start(self, *, at_once: bool) -> None:
        """Begin; `at_once`: the set has not been read yet."""
        if at_once:
            self._look()
        else:
            self._last = self._reactor.seconds()
            self._call = self._reactor.callLater(self._interval, self._look)

    def soon(self) -> None:
        """A key was asked for that is not there: it may be new."""
        if self._reading or self._reactor.seconds() - self._last < self._least:
            return
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._look()

    def _look(self) -> None:
        holder = self._holder()
        if holder is None:
            return
        self._reading = True
        self._last = self._reactor.seconds()
        # A file may be on a network's file system, an HTTP server may be slow: not in the thread that serves clients.
        done = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), holder.keys.read)
        done.addCallbacks(self._read, self._failed)
        done.addErrback(lambda failure: _log.failure("keys not updated", failure=failure))
        done.addBoth(lambda _: self._again())

    def _again(self) -> None:
        self._reading = False
        self._call = self._reactor.callLater(self._interval, self._look)

    def _read(self, keys: dict[str, PyJWK]) -> None:
        holder = self._holder()
        if holder is None:
            return
        key_set = holder.keys
        if keys.keys() != key_set.keys.keys():
            _log.info("{source}: {count} keys", source=key_set.source, count=len(keys))
        key_set.keys = keys
        key_set.problem = ""

    def _failed(self, failure: Failure) -> None:
        failure.trap(ValueError)
        holder = self._holder()
        # Told once, not at every look.
        if holder is not None and holder.keys.problem != str(failure.value):
            holder.keys.problem = str(failure.value)
            _log.error("keys stay as they were: {problem}", problem=holder.keys.problem)
