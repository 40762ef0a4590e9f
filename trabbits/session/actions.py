"""What a session asks its surroundings to do: commands in the imperative, executed by the frontend's runner.

Lives here: plain values.  Octets are not actions: they wait in `Session.to_client` and `Link.out`.
Must not know: how a command is carried out.  Each command whose outcome matters is answered by an event of
`Session` (named with it).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from trabbits.interfaces import Visitor

if TYPE_CHECKING:
    from trabbits.session.link import Link


@frozen
class LoginRequest:
    """Who a link is opened for: what an upstream is told in start-ok."""

    #: "PLAIN" or "AMQPLAIN".
    mechanism: str
    username: str
    password: str = field(repr=False)
    #: The client's properties, already extended by the client's address and the session's id.
    client_properties: dict[str, Any]
    locale: str


@frozen
class VirtualHostRequest:
    """What an authenticated link is opened with: what an upstream is told in tune-ok and connection.open."""

    virtual_host: str
    #: Agreed with the client, counting the framing; an upstream is offered at most this.
    frame_max: int
    #: The highest channel number the client may use.
    channel_max: int
    #: Seconds proposed to the upstream, 0 for none.
    heartbeat: int
    #: How many channels more the link needs for trabbits itself.
    own_channels: int = 1


class Action:
    """The base of all commands."""

    __slots__ = ()


@frozen
class OpenLinks(Action):
    """Open a link to each of these upstreams, as far as its connection.tune.  A session may ask for some later.

    Answered per upstream by `Session.link_authenticated`, `link_refused` or `link_unreachable`; one of the latter two
    can also follow at any time after the first.
    """

    requests: Mapping[str, LoginRequest]


@frozen
class AskPolicies(Action):
    """Ask the connection policies whether this client may come in.  Answered by `Session.admitted` or `refused`."""

    visitor: Visitor


@frozen
class DismissPolicies(Action):
    """The session ends: the policies are not asked any more, do not answer, and hold nobody back."""


@frozen
class OpenVirtualHost(Action):
    """Go on with all links: tune-ok and connection.open.

    Answered per upstream by `Session.link_opened`, `link_refused` or `link_unreachable`.
    """

    request: VirtualHostRequest


@frozen
class CancelLinks(Action):
    """Give up the links that are not open yet; they are not answered any more."""


@frozen(eq=False)
class CloseLink(Action):
    """Close a link properly (connection.close, close-ok), within the session's close timeout.

    Answered by `Session.link_gone`, whatever the outcome.
    """

    link: Link


@frozen
class CloseClient(Action):
    """Send what waits for the client, then close its connection.  Answered by `Session.client_lost`."""


@frozen
class AbortClient(Action):
    """Drop the client's connection at once.  Answered by `Session.client_lost`."""


@frozen
class SetTimer(Action):
    """Call `Session.timer_fired` with this name in so many seconds; replaces a timer of the same name."""

    name: str
    seconds: float


@frozen
class CancelTimer(Action):
    """Forget the timer of this name, if there is one."""

    name: str


@frozen(eq=False)
class PauseLink(Action):
    """Read nothing more from this link until `ResumeLink`."""

    link: Link


@frozen(eq=False)
class ResumeLink(Action):
    """Read from this link again."""

    link: Link


@frozen(eq=False)
class CountMessages(Action):
    """Ask a link, on trabbits' own channel, how many messages a queue holds.

    Answered by `Session.messages_counted` with the same token; a queue that is not there counts 0.
    """

    link: Link
    queue: str
    token: int


@frozen(eq=False)
class ProbeQueue(Action):
    """Ask a link, on trabbits' own channel, whether a queue exists.

    Answered by `Session.queue_probed` with the same token.
    """

    link: Link
    queue: str
    token: int


@frozen(eq=False)
class DrainLink(Action):
    """Read from this link until its end, whatever was asked for before: nothing of it goes to the client any more."""

    link: Link


class Deletion(Enum):
    """What became of a queue that was to be deleted."""

    DELETED = "deleted"
    MISSING = "not there"
    IN_USE = "in use"
    FAILED = "failed"


@frozen(eq=False)
class DeleteQueue(Action):
    """Delete a queue, on trabbits' own channel, unless somebody consumes from it.

    Answered by `Session.queue_deleted`, unless the link ends.
    """

    link: Link
    queue: str


@frozen(eq=False)
class UpdateSecret(Action):
    """Hand a new secret to an upstream (connection.update-secret).

    Answered by `Session.secret_updated`; a refusal arrives as the upstream's connection.close.
    """

    link: Link
    secret: str = field(repr=False)
    reason: str
