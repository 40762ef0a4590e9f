"""A bound on how many clients may come in a second: on average, by virtual host, with a burst.

Lives here: `ConnectionRate`.  Must not know: how clients come and go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from twisted.logger import Logger
from zope.interface import implementer

from trabbits.interfaces import IConnectionPolicy, Refusal, Visitor
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions
from trabbits.plugins.token_buckets import Alarms, Bucket, Buckets

#: Not RabbitMQ's 530: some clients take that for final, and here it is only a matter of time.
CONNECTION_FORCED = 320
#: Seconds between two alarms about the same virtual host.
ALARM_INTERVAL = 10.0

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Burst = Annotated[int, Field(ge=1)]


class RateOptions(PluginOptions):
    """How many clients may come."""

    rate: Rate
    """Clients a second, on average."""
    burst: Burst | None = None
    """How many may come at once after a quiet time; as many as in one second if it is not given, and at least one."""

    def bucket(self, now: float) -> Bucket:
        """A new bucket of this kind."""
        return Bucket(self.rate, float(self.burst or max(1, int(self.rate))), now)


class ConnectionRateOptions(PluginOptions):
    """How many clients may come; virtual hosts without a rate are not bounded."""

    rate: Rate | None = None
    """Clients a second, on average, of each virtual host that is not in `virtual_hosts`."""
    burst: Burst | None = None
    """How many may come at once after a quiet time; as many as in one second if it is not given, and at least one."""
    virtual_hosts: dict[str, RateOptions] = {}
    """The rates of these virtual hosts."""
    alarm_only: bool = False
    """Only log what would be refused."""

    @model_validator(mode="after")
    def _limits_something(self) -> ConnectionRateOptions:
        if self.rate is None and not self.virtual_hosts:
            raise PydanticCustomError("expected", "expected a rate, here or in virtual_hosts")
        if self.rate is None and self.burst is not None:
            raise PydanticCustomError("expected", "expected a rate together with burst")
        return self

    def rate_of(self, virtual_host: str) -> RateOptions | None:
        """What holds for a virtual host."""
        found = self.virtual_hosts.get(virtual_host)
        if found is None and self.rate is not None:
            return RateOptions(rate=self.rate, burst=self.burst)
        return found


@implementer(IConnectionPolicy)
class ConnectionRate:
    """A token bucket for each virtual host.  `seconds` is a clock."""

    _log = Logger()

    def __init__(self, options: ConnectionRateOptions, seconds: Callable[[], float]) -> None:
        self._options = options
        self._seconds = seconds
        self._buckets = Buckets(self._bucket)
        self._alarms = Alarms(ALARM_INTERVAL)

    def admit(self, visitor: Visitor) -> Refusal | None:
        host = visitor.virtual_host
        rate = self._options.rate_of(host)
        now = self._seconds()
        if rate is None or self._buckets.get(host, now).take(1, now):
            return None
        text = f"more than {rate.rate:g} connections a second to vhost '{host}'"
        if not self._options.alarm_only:
            return Refusal(CONNECTION_FORCED, f"CONNECTION_FORCED - {text}, try again later")
        if self._alarms.due(host, now):
            self._log.warn(
                "connection_rate: {text}; alarm_only, so {user} from {address} is let in",
                text=text,
                user=visitor.user,
                address=visitor.address,
            )
        return None

    def left(self, visitor: Visitor) -> None:
        """Who leaves makes no room: it is the coming that counts."""

    def _bucket(self, host: str, now: float) -> Bucket:
        rate = self._options.rate_of(host)
        assert rate is not None
        return rate.bucket(now)


def _make(options: ConnectionRateOptions, context: PluginContext) -> ConnectionRate:
    return ConnectionRate(options, context.reactor.seconds if context.reactor is not None else float)


connection_rate = Plugin(
    "connection_rate",
    IConnectionPolicy,
    ConnectionRateOptions,
    _make,
    "a bound on the clients that come in a second, by virtual host",
)
