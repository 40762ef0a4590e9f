"""Token buckets by name: how much of something may still happen now, if on average it is so much a second.

Lives here: `Bucket` and `Buckets`, for the policies of this package.  Must not know: what is counted, or any clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Buckets kept for names that anybody may invent.
MOST: Final = 10_000


class Bucket:
    """Holds at most `size` tokens, gets `rate` of them a second, and may be in debt.  Times are in seconds.

    Full at the beginning.  A clock that goes back counts as one that stands still.
    """

    __slots__ = ("_at", "_size", "_tokens", "rate")

    def __init__(self, rate: float, size: float, now: float) -> None:
        self.rate = rate
        self._size = size
        self._tokens = size
        self._at = now

    def tokens(self, now: float) -> float:
        """What is there now."""
        self._tokens = min(self._size, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
        return self._tokens

    def full(self, now: float) -> bool:
        """Whether it is as if it had never been used."""
        return self.tokens(now) >= self._size

    def take(self, count: float, now: float) -> bool:
        """Take so many, if there are enough; whether there were."""
        if self.tokens(now) < count:
            return False
        self._tokens -= count
        return True

    def empty(self, now: float) -> None:
        """Take all that there is."""
        self._tokens = min(0.0, self.tokens(now))

    def owe(self, count: float, now: float) -> float:
        """Take so many in any case; how many seconds it takes until the debt is paid, 0 without one."""
        self._tokens = self.tokens(now) - count
        return max(0.0, -self._tokens / self.rate)


class Buckets:
    """A bucket for each name, made by `make` (name, now) when it is first needed, and forgotten when it is full."""

    def __init__(self, make: Callable[[str, float], Bucket], most: int = MOST) -> None:
        self._make = make
        self._most = most
        self._buckets: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def get(self, name: str, now: float) -> Bucket:
        """The one of this name."""
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._prune(now)
            bucket = self._buckets[name] = self._make(name, now)
        return bucket

    def _prune(self, now: float) -> None:
        """Forget those that are full; if none is, the oldest half: a bound is a bound."""
        kept = {name: bucket for name, bucket in self._buckets.items() if not bucket.full(now)}
        if len(kept) > self._most // 2:
            kept = dict(list(kept.items())[len(kept) - self._most // 2 :])
        self._buckets = kept


class Alarms:
    """Whether it is time to say again that something of this name is too much: once in `interval` seconds."""

    def __init__(self, interval: float, most: int = MOST) -> None:
        self._interval = interval
        self._most = most
        self._said: dict[str, float] = {}

    def due(self, name: str, now: float) -> bool:
        """Whether it is; then it has been said."""
        last = self._said.get(name)
        if last is not None and 0 <= now - last < self._interval:
            return False
        if len(self._said) >= self._most:
            self._said.clear()
        self._said[name] = now
        return True
