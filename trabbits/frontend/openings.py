"""The links of a session that are not open yet.

Lives here: `Openings`: logging in at all upstreams, links that wait for the client, opening the virtual host, and
giving up at any of these points.  Must not know: what becomes of an open link (``runner.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from trabbits.session import actions
from trabbits.session.session import Session
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.upstream import Upstream


class Openings:
    """`opened` gets each link that is open, `changed` is called after every other event of the session.

    `unexpected` takes failures that are nobody's.  True while an attempt is under way.
    """

    def __init__(
        self,
        session: Session,
        upstreams: Mapping[str, Upstream],
        *,
        opened: Callable[[str, LinkProtocol], None],
        changed: Callable[[], None],
        unexpected: Callable[[Failure], None],
    ) -> None:
        self._session = session
        self._upstreams = upstreams
        self._opened = opened
        self._changed = changed
        self._unexpected = unexpected
        self._attempts: dict[str, Deferred[LinkProtocol]] = {}
        #: Logged in, and waiting for the client to name a virtual host.
        self._waiting: dict[str, LinkProtocol] = {}
        self._given_up = False

    def __bool__(self) -> bool:
        return bool(self._attempts)

    def open_links(self, action: actions.OpenLinks) -> None:
        """Log in at these upstreams."""
        self._given_up = False
        for name, request in action.requests.items():
            # The first may have failed at once.
            if not self._given_up:
                self._attempt(name, self._upstreams[name].open_link(request), self._logged_in)

    def open_virtual_host(self, action: actions.OpenVirtualHost) -> None:
        """Go on with all links."""
        for name in list(self._waiting):
            link = self._waiting.pop(name, None)
            if link is not None:
                self._attempt(name, self._upstreams[name].open_virtual_host(link, action.request), self._opened)

    def cancel(self, action: actions.CancelLinks) -> None:
        """Give up whatever is not open."""
        self._given_up = True
        waiting, self._waiting = self._waiting, {}
        for link in waiting.values():
            link.abort()
        for attempt in list(self._attempts.values()):
            attempt.cancel()

    def _attempt(
        self, name: str, attempt: Deferred[LinkProtocol], succeeded: Callable[[str, LinkProtocol], None]
    ) -> None:
        def success(link: LinkProtocol) -> None:
            del self._attempts[name]
            succeeded(name, link)

        def failure(failure: Failure) -> None:
            del self._attempts[name]
            self._failed(name, failure)

        self._attempts[name] = attempt
        attempt.addCallbacks(success, failure)
        attempt.addErrback(self._unexpected)

    def _logged_in(self, name: str, link: LinkProtocol) -> None:
        if self._given_up:
            link.abort()
            self._changed()
            return
        self._waiting[name] = link
        self._upstreams[name].when_broken(link, lambda error: self._broken(name, error))
        self._session.link_authenticated(name, link.node, link.server_properties)
        self._changed()

    def _broken(self, name: str, error: LinkRefused | LinkUnreachable) -> None:
        del self._waiting[name]
        self._tell(name, error)
        self._changed()

    def _failed(self, name: str, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, LinkRefused | LinkUnreachable):
            self._tell(name, error)
        elif not isinstance(error, CancelledError):
            self._unexpected(failure)
            self._session.link_unreachable(name, "", f"upstream '{name}' could not be reached: {error}")
        self._changed()

    def _tell(self, name: str, error: LinkRefused | LinkUnreachable) -> None:
        if isinstance(error, LinkRefused):
            self._session.link_refused(name, error.node, error.code, error.text, error.class_id, error.method_id)
        else:
            self._session.link_unreachable(name, error.node, error.text)
