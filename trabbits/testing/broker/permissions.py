"""Who may do what: users, and three regular expressions for each virtual host they may enter.

Lives here: `User`, `Permissions`, and asking them.  Must not know: connections, what is done with an answer.

Source: https://www.rabbitmq.com/docs/access-control (the table of operations and permissions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

from attrs import field, frozen

from trabbits.testing.broker.errors import Refused, resource
from trabbits.wire.constants import ACCESS_REFUSED

Operation = Literal["configure", "write", "read"]

#: What the default exchange is called where permissions are asked for.
_DEFAULT_EXCHANGE: Final = "amq.default"


@frozen
class Permissions:
    """Regular expressions that names of queues and exchanges must contain a match of; an empty one matches none."""

    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"


@frozen
class User:
    """A user of the broker.  `permissions` are those in each virtual host; None means all, in every one."""

    password: str = field(repr=False)
    permissions: Mapping[str, Permissions] | None = None

    def may_enter(self, vhost: str) -> bool:
        return self.permissions is None or vhost in self.permissions

    def check(self, user: str, operation: Operation, kind: str, name: str, vhost: str) -> None:
        """Raise `Refused` 403 unless this user, who is called `user`, may do that to the queue or exchange."""
        if self.permissions is None:
            return
        allowed = self.permissions.get(vhost)
        pattern = getattr(allowed, operation) if allowed is not None else ""
        name = name or _DEFAULT_EXCHANGE
        if not _matches(pattern, name):
            raise Refused(ACCESS_REFUSED, f"access to {resource(kind, name, vhost)} refused for user '{user}'")


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern or "^$")


def _matches(pattern: str, name: str) -> bool:
    return _compiled(pattern).search(name) is not None
