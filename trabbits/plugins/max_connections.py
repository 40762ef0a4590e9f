"""A bound on how many clients there may be at the same time: in all, for a virtual host, for a user.

Lives here: `MaxConnections`.  Must not know: how clients come and go.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from trabbits.interfaces import IConnectionPolicy, Refusal, Visitor
from trabbits.plugins.declaring import Plugin, PluginOptions

#: RabbitMQ's code for its own limits.
NOT_ALLOWED = 530

Limit = Annotated[int, Field(ge=0)]


class MaxConnectionsOptions(PluginOptions):
    """How many clients; a limit that is not given is none, 0 lets nobody in."""

    total: Limit | None = None
    """Clients of this process."""
    per_virtual_host: Limit | None = None
    """Clients of each virtual host that is not in `virtual_hosts`."""
    per_user: Limit | None = None
    """Clients of each user that is not in `users`."""
    virtual_hosts: dict[str, Limit] = {}
    """Clients of these virtual hosts."""
    users: dict[str, Limit] = {}
    """Clients of these users."""

    @model_validator(mode="after")
    def _limits_something(self) -> MaxConnectionsOptions:
        limits = (self.total, self.per_virtual_host, self.per_user)
        if all(limit is None for limit in limits) and not self.virtual_hosts and not self.users:
            raise PydanticCustomError("expected", "expected a limit: total, per_virtual_host, per_user …")
        return self


@implementer(IConnectionPolicy)
class MaxConnections:
    """Counts the clients that were let in, until they leave."""

    def __init__(self, options: MaxConnectionsOptions) -> None:
        self._options = options
        self._total = 0
        self._hosts: Counter[str] = Counter()
        self._users: Counter[str] = Counter()

    def admit(self, visitor: Visitor) -> Refusal | None:
        refusal = self._refusal(visitor)
        if refusal is None:
            self._total += 1
            self._hosts[visitor.virtual_host] += 1
            self._users[visitor.user] += 1
        return refusal

    def left(self, visitor: Visitor) -> None:
        self._total -= 1
        for counter, name in ((self._hosts, visitor.virtual_host), (self._users, visitor.user)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    def _refusal(self, visitor: Visitor) -> Refusal | None:
        options = self._options
        host, user = visitor.virtual_host, visitor.user
        # The texts are RabbitMQ's own, as far as it has them.
        limit = options.total
        if limit is not None and self._total >= limit:
            text = f"connection refused: the proxy's connection limit ({limit}) is reached"
            return Refusal(NOT_ALLOWED, f"NOT_ALLOWED - {text}")
        limit = options.virtual_hosts.get(host, options.per_virtual_host)
        if limit is not None and self._hosts[host] >= limit:
            text = f"access to vhost '{host}' refused for user '{user}': connection limit ({limit}) is reached"
            return Refusal(NOT_ALLOWED, f"NOT_ALLOWED - {text}")
        limit = options.users.get(user, options.per_user)
        if limit is not None and self._users[user] >= limit:
            text = f"connection refused for user '{user}': user connection limit ({limit}) is reached"
            return Refusal(NOT_ALLOWED, f"NOT_ALLOWED - {text}")
        return None


max_connections = Plugin(
    "max_connections",
    IConnectionPolicy,
    MaxConnectionsOptions,
    lambda options, _: MaxConnections(options),
    "a bound on the clients at the same time: in all, by virtual host, by user",
)
