"""What trabbits asks an upstream for itself on an open link, against a scripted upstream."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from twisted.internet.defer import Deferred

from tests.upstream.scripted import CLOSE_OK, FORCED, ScriptedLink, method, outcome
from trabbits.upstream.errors import RequestFailed, RequestRefused

OWN = 2047
OPENED = method(commands.Channel.OpenOk(), OWN)


def test_count_messages_opens_the_own_channel_once() -> None:
    scripted = ScriptedLink().open()
    scripted.attach()
    first = outcome(scripted.link.count_messages("grün", 5))
    second = outcome(scripted.link.count_messages("q", 5))
    ((channel, opening),) = scripted.sent()
    assert channel == OWN
    assert isinstance(opening, commands.Channel.Open)
    scripted.feed(OPENED)
    assert b"gr\xc3\xbcn" in scripted.transport.value()
    scripted.transport.clear()
    scripted.feed(method(commands.Queue.DeclareOk("green", 5, 0), OWN))
    assert first == [5]
    ((_, declare),) = scripted.sent()
    assert (declare.queue, declare.passive) == ("q", True)
    scripted.feed(method(commands.Queue.DeclareOk("q", 7, 0), OWN))
    assert second == [7]
    assert len(scripted.clock.getDelayedCalls()) == 2, "only the heartbeats' timers remain"


def test_consumers_are_counted_by_a_passive_declare() -> None:
    scripted = ScriptedLink(heartbeat=0).open(heartbeat=0)
    scripted.attach()
    counted = outcome(scripted.link.count_consumers("q", 5))
    missing = outcome(scripted.link.count_consumers("missing", 5))
    scripted.feed(OPENED, method(commands.Queue.DeclareOk("q", 5, 2), OWN))
    assert counted == [2]
    asked = [frame for _, frame in scripted.sent() if isinstance(frame, commands.Queue.Declare)]
    assert [(declare.queue, declare.passive) for declare in asked] == [("q", True), ("missing", True)]
    scripted.feed(method(commands.Channel.Close(404, "NOT_FOUND - no queue", 50, 10), OWN))
    assert isinstance(missing[0], RequestRefused)
    assert scripted.clock.getDelayedCalls() == []


def test_a_channel_error_fails_the_request_and_the_next_reopens() -> None:
    scripted = ScriptedLink().open()
    receiver = scripted.attach()
    first = outcome(scripted.link.count_messages("missing", 5))
    second = outcome(scripted.link.delete_queue("q", 5))
    scripted.feed(OPENED, method(commands.Channel.Close(404, "NOT_FOUND - no queue", 50, 10), OWN))
    (error,) = first
    assert isinstance(error, RequestRefused)
    assert (error.code, error.text) == (404, "NOT_FOUND - no queue")
    sent = [type(frame).__name__ for _, frame in scripted.sent()]
    assert sent == ["Open", "Declare", "CloseOk", "Open"]
    scripted.feed(OPENED, method(commands.Queue.DeleteOk(0), OWN))
    assert second == [None]
    assert receiver.events == []


def test_a_late_answer_is_not_that_of_the_next_request() -> None:
    scripted = ScriptedLink(heartbeat=0).open(heartbeat=0)
    scripted.attach()
    late = outcome(scripted.link.count_messages("slow", 5))
    scripted.feed(OPENED)
    scripted.tick(5)
    (error,) = late
    assert isinstance(error, RequestFailed)
    assert error.text == ("upstream 'primary' (localhost:5672) did not answer queue.declare of 'slow' within 5s")
    waiting = outcome(scripted.link.count_messages("never asked", 1))
    scripted.tick(1)
    assert isinstance(waiting[0], RequestFailed)
    following = outcome(scripted.link.count_messages("next", 5))
    scripted.feed(method(commands.Queue.DeclareOk("slow", 1, 0), OWN))
    assert following == []
    asked = [frame.queue for _, frame in scripted.sent() if isinstance(frame, commands.Queue.Declare)]
    assert asked == ["slow", "next"]
    scripted.feed(method(commands.Queue.DeclareOk("next", 2, 0), OWN))
    assert following == [2]
    assert scripted.clock.getDelayedCalls() == []


def test_a_cancelled_request_leaves_no_timer() -> None:
    scripted = ScriptedLink(heartbeat=0).open(heartbeat=0)
    scripted.attach()
    request = scripted.link.count_messages("q", 5)
    request.addErrback(lambda _: None)
    request.cancel()
    assert scripted.clock.getDelayedCalls() == []
    scripted.feed(OPENED, method(commands.Queue.DeclareOk("q", 1, 0), OWN))


def test_update_secret() -> None:
    scripted = ScriptedLink().open()
    scripted.attach()
    updated = outcome(scripted.link.update_secret("s\0cret", "token expires", 5))
    (sent,) = scripted.sent()
    assert (sent.new_secret, sent.reason) == ("s\0cret", "token expires")
    scripted.feed(method(commands.Connection.UpdateSecretOk()))
    assert updated == [None]


@pytest.mark.parametrize("end", ["lose", "forced", "abort", "close"])
def test_requests_fail_when_the_link_ends(end: str) -> None:
    scripted = ScriptedLink().open()
    scripted.attach()
    requests: list[Deferred[Any]] = [
        scripted.link.count_messages("q", 5),
        scripted.link.delete_queue("q", 5),
        scripted.link.update_secret("secret", "", 5),
    ]
    outcomes = [outcome(request) for request in requests]
    if end == "forced":
        scripted.feed(FORCED)
    elif end == "abort":
        scripted.link.abort()
    elif end == "close":
        scripted.link.close_link(5)
        scripted.feed(CLOSE_OK)
    scripted.lose()
    later = outcome(scripted.link.count_messages("q", 5)) + outcome(scripted.link.update_secret("s", "", 5))
    for error in [*(fired[0] for fired in outcomes), *later]:
        assert isinstance(error, RequestFailed)
        assert error.text.startswith("upstream 'primary' (localhost:5672) ")
    assert scripted.clock.getDelayedCalls() == []


def test_an_argument_that_fits_no_field_fails_only_its_request() -> None:
    scripted = ScriptedLink().open()
    receiver = scripted.attach()
    refused = outcome(scripted.link.count_messages("q" * 256, 5))
    scripted.feed(OPENED)
    assert isinstance(refused[0], TypeError)
    following = outcome(scripted.link.count_messages("q", 5))
    scripted.feed(method(commands.Queue.DeclareOk("q", 2, 0), OWN))
    assert following == [2]
    assert receiver.events == []


def test_a_wrong_answer_fails_the_request() -> None:
    scripted = ScriptedLink().open()
    scripted.attach()
    request = outcome(scripted.link.count_messages("q", 5))
    scripted.feed(OPENED, method(commands.Queue.DeleteOk(0), OWN))
    assert isinstance(request[0], RequestFailed)
    assert scripted.aborted()
