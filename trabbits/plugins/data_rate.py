"""A bound on how many octets clients may send in a second, each of them or all of a virtual host, by reading slower.

Lives here: `DataRate`.  Must not know: how octets come, or how reading is paused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from twisted.logger import Logger
from zope.interface import implementer

from trabbits.interfaces import IConnectionPolicy, IDataPolicy, Visitor
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions
from trabbits.plugins.token_buckets import Alarms, Bucket, Buckets

#: Seconds between two alarms about the same session or virtual host.
ALARM_INTERVAL = 10.0

#: One read brings up to 64 KiB: with less, a client would not be read for minutes.
OctetsPerSecond = Annotated[int, Field(ge=1000)]


class DataRateOptions(PluginOptions):
    """How many octets a second; what is not given is not bounded."""

    per_session: OctetsPerSecond | None = None
    """Octets a second from each client."""
    per_virtual_host: OctetsPerSecond | None = None
    """Octets a second from all clients of each virtual host that is not in `virtual_hosts`, together."""
    virtual_hosts: dict[str, OctetsPerSecond] = {}
    """Octets a second from all clients of these virtual hosts, together."""
    burst: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 1.0
    """How much may come at once after a quiet time: as much as in so many seconds."""
    alarm_only: bool = False
    """Only log what would be held back."""

    @model_validator(mode="after")
    def _limits_something(self) -> DataRateOptions:
        if self.per_session is None and self.per_virtual_host is None and not self.virtual_hosts:
            raise PydanticCustomError("expected", "expected a rate: per_session, per_virtual_host, virtual_hosts")
        return self


@implementer(IDataPolicy)
class DataRate:
    """A token bucket for each session and each virtual host, which may go into debt: that is waited for."""

    _log = Logger()

    def __init__(self, options: DataRateOptions, seconds: Callable[[], float]) -> None:
        self._options = options
        self._seconds = seconds
        self._sessions: dict[str, Bucket] = {}
        # Not forgotten with its last client: who comes back at once shall not find it full.
        self._hosts = Buckets(self._host_bucket)
        self._alarms = Alarms(ALARM_INTERVAL)

    def admit(self, visitor: Visitor) -> None:
        """Everybody."""
        rate = self._options.per_session
        if rate is not None:
            self._sessions[visitor.session] = self._bucket(rate, self._seconds())

    def left(self, visitor: Visitor) -> None:
        self._sessions.pop(visitor.session, None)

    def received(self, visitor: Visitor, octets: int) -> float:
        now = self._seconds()
        wait = 0.0
        bucket = self._sessions.get(visitor.session)
        if bucket is not None:
            wait = self._count(bucket, octets, now, f"session {visitor.session} of {visitor.user}")
        host = visitor.virtual_host
        if self._host_rate(host) is not None:
            wait = max(wait, self._count(self._hosts.get(host, now), octets, now, f"virtual host {host}"))
        return wait

    def _count(self, bucket: Bucket, octets: int, now: float, whose: str) -> float:
        """How long it takes until so many octets may have come."""
        if not self._options.alarm_only:
            return bucket.owe(octets, now)
        # Nobody waits, so no debt may grow.
        if not bucket.take(octets, now):
            bucket.empty(now)
            if self._alarms.due(whose, now):
                text = f"{whose} sends more than {bucket.rate:g} octets a second"
                self._log.warn("data_rate: {text}; alarm_only, so it may", text=text)
        return 0.0

    def _host_rate(self, host: str) -> int | None:
        return self._options.virtual_hosts.get(host, self._options.per_virtual_host)

    def _host_bucket(self, host: str, now: float) -> Bucket:
        rate = self._host_rate(host)
        assert rate is not None
        return self._bucket(rate, now)

    def _bucket(self, rate: int, now: float) -> Bucket:
        return Bucket(rate, rate * self._options.burst, now)


def _make(options: DataRateOptions, context: PluginContext) -> DataRate:
    return DataRate(options, context.reactor.seconds if context.reactor is not None else float)


data_rate = Plugin(
    "data_rate",
    IConnectionPolicy,
    DataRateOptions,
    _make,
    "a bound on the octets a second of a client or a virtual host, by reading slower",
)
