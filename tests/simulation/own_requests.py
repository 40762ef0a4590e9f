"""What a session asks of its links for itself, as ``frontend/link_requests.py`` does it.

Must not know: octets of clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.codec import Channel, Queue, call
from tests.simulation.link_end import LinkEnd
from trabbits.session import actions
from trabbits.session.actions import Deletion
from trabbits.session.clean_up import CLEAN_UP_TIMEOUT
from trabbits.session.probing import PROBE_TIMEOUT

if TYPE_CHECKING:
    from tests.simulation.surroundings import Surroundings

SECRET_TIMEOUT = 10.0
COUNT_TIMEOUT = 1.0


class OwnRequests:
    """The requests of one session."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def _declared_passively(self, end: LinkEnd, queue: str, timeout: float, done: Callable[[Any], None]) -> None:
        end.request(call(0, Queue.Declare, 0, queue, True, False, False, False, False), timeout, done)

    def count_messages(self, action: actions.CountMessages) -> None:
        end = self._surroundings.ends.get(action.link)
        if end is None:
            return

        def counted(reply: Any) -> None:
            self._surroundings.world.ledger.count("CountMessages")
            count = (reply.message_count or 0) if isinstance(reply, Queue.DeclareOk) else 0
            self._surroundings.session.messages_counted(action.token, count)
            self._surroundings.flush()

        self._declared_passively(end, action.queue, COUNT_TIMEOUT, counted)

    def probe_queue(self, action: actions.ProbeQueue) -> None:
        end = self._surroundings.ends.get(action.link)
        if end is None:
            return

        def probed(reply: Any) -> None:
            exists = isinstance(reply, Queue.DeclareOk)
            failure = reply if isinstance(reply, str) else ""
            self._surroundings.world.ledger.count(f"ProbeQueue {exists}{' failed' if failure else ''}")
            self._surroundings.session.queue_probed(action.token, exists, failure)
            self._surroundings.flush()

        self._declared_passively(end, action.queue, PROBE_TIMEOUT, probed)

    def delete_queue(self, action: actions.DeleteQueue) -> None:
        end = self._surroundings.ends.get(action.link)
        if end is None:
            return

        def outcome(what: Deletion, text: str = "") -> None:
            self._surroundings.world.ledger.count(f"DeleteQueue {what.value}")
            self._surroundings.session.queue_deleted(action.link, what, text)
            self._surroundings.flush()

        def failed(reply: Any) -> None:
            if isinstance(reply, Channel.Close) and reply.reply_code == 404:
                outcome(Deletion.MISSING)
            else:
                outcome(Deletion.FAILED, str(getattr(reply, "reply_text", reply)))

        def counted(reply: Any) -> None:
            if not isinstance(reply, Queue.DeclareOk):
                failed(reply)
            elif reply.consumer_count:
                outcome(Deletion.IN_USE, f"{reply.consumer_count} consumers of other connections")
            else:
                octets = call(0, Queue.Delete, 0, action.queue, False, False, False)
                end.request(octets, CLEAN_UP_TIMEOUT, deleted)

        def deleted(reply: Any) -> None:
            if isinstance(reply, Queue.DeleteOk):
                outcome(Deletion.DELETED)
            else:
                failed(reply)

        self._declared_passively(end, action.queue, CLEAN_UP_TIMEOUT, counted)

    def update_secret(self, action: actions.UpdateSecret) -> None:
        link = action.link
        end = self._surroundings.ends[link]

        def updated(reply: Any) -> None:
            if not isinstance(reply, str):
                self._surroundings.session.secret_updated(link)
            elif link.open:
                # Time passes faster than octets do.
                self._surroundings.on_trouble()
                self._surroundings.session.link_lost(link, f"connection.update-secret failed: {reply}")
                end.abort()
                self._surroundings.forget(link)
            self._surroundings.flush()

        end.update_secret(action.secret, action.reason, SECRET_TIMEOUT, updated)
