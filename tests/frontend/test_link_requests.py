"""What a session asks of its nodes for itself: how each question ends, and that none outlives the session."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from twisted.internet.defer import CancelledError, Deferred

from tests.frontend.doubles import Surroundings
from trabbits.log_ids import LogId
from trabbits.session import actions
from trabbits.session.actions import Deletion
from trabbits.session.link import Link
from trabbits.upstream.errors import RequestFailed, RequestRefused

FAN = ("a", "b")


def reply(request: Deferred[Any], answer: Any) -> None:
    """A node answers, or does not."""
    if isinstance(answer, Exception):
        request.errback(answer)
    else:
        request.callback(answer)


@pytest.mark.parametrize(
    ("error", "is_bug"),
    [
        (RequestRefused("a", "a:1", 404, "NOT_FOUND - no queue"), False),
        (RequestFailed("a", "a:1", "ended"), False),
        (RuntimeError("oops"), True),
    ],
    ids=["refused", "failed", "a bug"],
)
def test_a_count_that_fails_counts_nothing(error: Exception, is_bug: bool) -> None:
    around = Surroundings(FAN)
    links = around.open()
    link = around.session.links[0]
    counted: list[tuple[int, int]] = []
    around.session.messages_counted = lambda token, count: counted.append((token, count))  # type: ignore[method-assign]
    around.session.actions.append(actions.CountMessages(link, "q", 5))
    around.runner.flush()
    assert links[0].told == ["count q"]
    links[0].answers[0].errback(error)
    assert counted == [(5, 0)]
    assert (LogId.INTERNAL_ERROR in around.entries()) == is_bug


@pytest.mark.parametrize(
    ("answer", "exists", "told"),
    [
        (7, True, ""),
        (RequestRefused("a", "a:1", 404, "NOT_FOUND - no queue"), False, ""),
        (RequestRefused("a", "a:1", 405, "RESOURCE_LOCKED - no"), False, ""),
        (RequestFailed("a", "a:1", "ended"), False, "ended"),
        (RuntimeError("oops"), False, "oops"),
    ],
    ids=["there", "missing", "locked", "failed", "a bug"],
)
def test_probing_a_queue(answer: Any, exists: bool, told: str) -> None:
    around = Surroundings()
    (node,) = around.open()
    link = around.session.links[0]
    probed: list[tuple[int, bool, str]] = []

    def hear(token: int, exists: bool, failure: str = "") -> None:
        probed.append((token, exists, failure))

    around.session.queue_probed = hear  # type: ignore[method-assign]
    around.session.actions.append(actions.ProbeQueue(link, "q", 5))
    around.runner.flush()
    assert node.told == ["count q"]
    reply(node.answers[0], answer)
    assert probed == [(5, exists, told)]
    assert (LogId.INTERNAL_ERROR in around.entries()) == isinstance(answer, RuntimeError)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([0, None], Deletion.DELETED),
        ([2], Deletion.IN_USE),
        ([RequestRefused("a", "a:1", 404, "NOT_FOUND - no queue")], Deletion.MISSING),
        ([RequestRefused("a", "a:1", 405, "RESOURCE_LOCKED - no")], Deletion.FAILED),
        ([0, RequestFailed("a", "a:1", "ended")], Deletion.FAILED),
        ([RuntimeError("oops")], Deletion.FAILED),
    ],
    ids=["deleted", "in use", "missing", "locked", "failed", "a bug"],
)
def test_deleting_a_queue(answers: list[Any], outcome: Deletion) -> None:
    """Only one that nobody consumes from."""
    around = Surroundings()
    (node,) = around.open()
    link = around.session.links[0]
    heard: list[Deletion] = []

    def hear(link: Link, outcome: Deletion, text: str = "") -> None:
        heard.append(outcome)

    around.session.queue_deleted = hear  # type: ignore[method-assign]
    around.session.actions.append(actions.DeleteQueue(link, "q"))
    around.runner.flush()
    for answer in answers:
        reply(node.answers[-1], answer)
    assert node.told == ["consumers q", "delete q"][: len(answers)]
    assert heard == [outcome]


@pytest.mark.parametrize("action", [actions.CountMessages, actions.DeleteQueue, actions.ProbeQueue])
def test_nothing_is_asked_of_a_link_that_is_gone(action: Any) -> None:
    around = Surroundings()
    (node,) = around.open()
    link = around.session.links[0]
    node.events.link_lost("gone")
    arguments = (link, "q", 5)[: 2 if action is actions.DeleteQueue else 3]
    around.session.actions.append(action(*arguments))
    around.session.actions.append(actions.DrainLink(link))
    around.runner.flush()
    assert node.told == []


def test_a_secret_that_is_not_taken_ends_the_link() -> None:
    around = Surroundings()
    (link,) = around.open()
    around.send(commands.Connection.UpdateSecret("new", "expired"))
    assert link.told == ["secret new"]
    link.answers[0].errback(RequestFailed("a", "a:1", "did not answer"))
    (close,) = around.heard()
    assert close.reply_code == 320
    assert "abort" in link.told
    around.lose_client()
    around.assert_over()


def test_a_secret_that_is_taken() -> None:
    around = Surroundings(FAN)
    links = around.open()
    around.send(commands.Connection.UpdateSecret("new", "expired"))
    links[0].answers[0].callback(None)
    assert around.heard() == []
    links[1].answers[0].callback(None)
    assert [method.name for method in around.heard()] == ["Connection.UpdateSecretOk"]


def test_requests_are_given_up_with_the_session() -> None:
    around = Surroundings()
    (link,) = around.open()
    around.send(commands.Connection.UpdateSecret("new", "expired"))
    around.lose_client()
    link.gone.callback(None)
    assert link.answers[0].called
    link.answers[0].addErrback(lambda failure: failure.trap(CancelledError))
    around.assert_over()
    assert LogId.INTERNAL_ERROR not in around.entries()
