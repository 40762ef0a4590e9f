"""What a session asks of its links for itself: counting, probing and deleting queues, handing on a new secret.

Lives here: carrying out these actions, each bounded in time, and telling the session how they ended.
Must not know: octets, transports of the client (``runner.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from trabbits.session import actions
from trabbits.session.actions import Deletion
from trabbits.session.clean_up import CLEAN_UP_TIMEOUT
from trabbits.session.link import Link
from trabbits.session.probing import PROBE_TIMEOUT
from trabbits.session.session import Session
from trabbits.upstream.errors import RequestFailed, RequestRefused
from trabbits.upstream.protocol import LinkProtocol
from trabbits.wire.constants import NOT_FOUND

#: Seconds that a new secret may take.
SECRET_TIMEOUT = 10.0
#: Seconds that counting the messages of a queue may take: a client waits for its basic.get.
COUNT_TIMEOUT = 1.0


class LinkRequests:
    """The requests of one session that are under way.

    `protocols` are the links as they come and go, `changed` is called after every event of the session, `dropped` gets
    a link that has to end, `unexpected` takes failures that are nobody's.
    """

    def __init__(
        self,
        session: Session,
        protocols: Mapping[Link, LinkProtocol],
        *,
        changed: Callable[[], None],
        dropped: Callable[[Link], None],
        unexpected: Callable[[Failure], None],
    ) -> None:
        self._session = session
        self._protocols = protocols
        self._changed = changed
        self._dropped = dropped
        self._unexpected = unexpected
        self._requests: set[Deferred[Any]] = set()

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        for request in list(self._requests):
            request.cancel()

    def count_messages(self, action: actions.CountMessages) -> None:
        """See `actions.CountMessages`."""
        protocol = self._protocols.get(action.link)
        if protocol is None:
            return  # it ended just now, which ends the session

        def counted(count: int) -> None:
            self._session.messages_counted(action.token, count)
            self._changed()

        def failed(failure: Failure) -> None:
            # A queue that is not there, or may not be seen, holds nothing for this client; nor does one whose link
            # ended or does not answer, which is dealt with elsewhere.
            if not failure.check(RequestRefused, RequestFailed):
                self._unexpected(failure)
            counted(0)

        self._request(protocol.count_messages(action.queue, COUNT_TIMEOUT), counted, failed)

    def probe_queue(self, action: actions.ProbeQueue) -> None:
        """See `actions.ProbeQueue`."""
        protocol = self._protocols.get(action.link)
        if protocol is None:
            return  # it ended, which ends the session

        def known(exists: bool, failure: str = "") -> None:
            self._session.queue_probed(action.token, exists, failure)
            self._changed()

        def failed(failure: Failure) -> None:
            if failure.check(RequestRefused):
                # Not there; or there, but not for this client, which the declare itself will tell it.
                known(False)
                return
            if not failure.check(RequestFailed):
                self._unexpected(failure)
            known(False, failure.getErrorMessage())

        self._request(protocol.count_messages(action.queue, PROBE_TIMEOUT), lambda _: known(True), failed)

    def delete_queue(self, action: actions.DeleteQueue) -> None:
        """See `actions.DeleteQueue`."""
        protocol = self._protocols.get(action.link)
        if protocol is None:
            return  # nothing can be asked any more, and the session hears of the link's end

        def ended(outcome: Deletion, text: str = "") -> None:
            self._session.queue_deleted(action.link, outcome, text)
            self._changed()

        def failed(failure: Failure) -> None:
            if failure.check(RequestRefused) and failure.value.code == NOT_FOUND:  # type: ignore[union-attr]  # checked
                ended(Deletion.MISSING)
                return
            if not failure.check(RequestRefused, RequestFailed):
                self._unexpected(failure)
            ended(Deletion.FAILED, failure.getErrorMessage())

        def deleted(consumers: int) -> None:
            if consumers:
                ended(Deletion.IN_USE, f"{consumers} consumers of other connections")
            else:
                ended(Deletion.DELETED)

        self._request(self._delete_unused(protocol, action.queue), deleted, failed)

    @staticmethod
    def _delete_unused(protocol: LinkProtocol, queue: str) -> Deferred[int]:
        """Delete a queue without consumers; fires with how many it has.

        Asked first and not left to if-unused: quorum queues and streams close the whole connection for that (540).
        """

        def counted(consumers: int) -> Deferred[int] | int:
            if consumers:
                return consumers
            return protocol.delete_queue(queue, CLEAN_UP_TIMEOUT).addCallback(lambda _: 0)

        return protocol.count_consumers(queue, CLEAN_UP_TIMEOUT).addCallback(counted)

    def update_secret(self, action: actions.UpdateSecret) -> None:
        """See `actions.UpdateSecret`."""
        link = action.link

        def updated(_: object) -> None:
            self._session.secret_updated(link)
            self._changed()

        def failed(failure: Failure) -> None:
            # A refusal ends the link; without one, the client shall not wait forever for its reply.
            if link.open:
                self._session.link_lost(link, f"connection.update-secret failed: {failure.getErrorMessage()}")
                self._dropped(link)

        timeout = SECRET_TIMEOUT
        self._request(self._protocols[link].update_secret(action.secret, action.reason, timeout), updated, failed)

    def _request(
        self, request: Deferred[Any], answered: Callable[[Any], None], failed: Callable[[Failure], None]
    ) -> None:
        self._requests.add(request)

        def forget(result: Any) -> Any:
            self._requests.discard(request)
            return result

        def not_answered(failure: Failure) -> None:
            # Cancelled: nobody wants to know.
            if not failure.check(CancelledError):
                failed(failure)

        request.addBoth(forget)
        request.addCallbacks(answered, not_answered)
        request.addErrback(self._unexpected)
