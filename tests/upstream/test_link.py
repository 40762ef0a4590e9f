"""An open link against a scripted upstream: octets, heartbeats, requests and the ways it ends."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from twisted.internet.defer import Deferred

from tests.upstream.scripted import (
    CLOSE_OK,
    HEARTBEAT,
    OPEN_OK,
    START,
    Receiver,
    ScriptedLink,
    SocketDouble,
    method,
    octet_by_octet,
    tune,
)
from trabbits.upstream.errors import RequestFailed, RequestRefused

OWN = 2047
FORCED = method(commands.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0))
DELIVERY = method(commands.Basic.Deliver("tag", 1, False, "", "key"), 3)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """What the Deferred fired with, once it has; a failure as its exception."""
    fired: list[Any] = []
    deferred.addCallbacks(fired.append, lambda failure: fired.append(failure.value))
    return fired


class TestReceiving:
    def test_octets_come_raw_whatever_the_chunking(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        scripted.feed(DELIVERY, HEARTBEAT, b"\x01\x00", cut=octet_by_octet)
        assert receiver.octets == DELIVERY + HEARTBEAT + b"\x01\x00"

    def test_octets_that_came_before_attach_are_handed_over(self) -> None:
        scripted = ScriptedLink()
        scripted.feed(START, tune(), OPEN_OK, HEARTBEAT, DELIVERY[:5])
        receiver = scripted.attach()
        assert receiver.octets == DELIVERY[:5]
        scripted.feed(DELIVERY[5:])
        assert receiver.octets == DELIVERY

    def test_attaching_in_the_callback_of_the_handshake_loses_no_octet(self) -> None:
        scripted = ScriptedLink()
        receiver = Receiver()
        scripted.handshake.addCallback(lambda _: scripted.link.attach(receiver))
        scripted.feed(START, tune(), OPEN_OK, DELIVERY, DELIVERY[:9])
        assert receiver.octets == DELIVERY + DELIVERY[:9]

    def test_blocked_and_unblocked(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        scripted.feed(method(commands.Connection.Blocked("memory")), method(commands.Connection.Unblocked()))
        assert receiver.events == [("blocked", "memory"), ("unblocked",)]

    def test_blocked_before_attach_is_told_at_attach(self) -> None:
        scripted = ScriptedLink().open().feed(method(commands.Connection.Blocked("disk")))
        assert scripted.attach().events == [("blocked", "disk")]

    def test_a_frame_that_has_no_place_ends_the_link(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        scripted.feed(method(commands.Queue.DeclareOk("q", 1, 1), 0), FORCED)
        assert scripted.transport.aborted
        scripted.lose()
        ((event, reason),) = receiver.events
        assert event == "lost"
        assert reason == "upstream 'primary' (localhost:5672) broke AMQP: unexpected queue.declare-ok on channel 0"


class TestHeartbeats:
    def test_are_sent_at_least_once_per_interval(self) -> None:
        scripted = ScriptedLink(heartbeat=10).open()
        scripted.attach()
        sent = 0
        for _ in range(5):
            scripted.transport.clear()
            scripted.link.dataReceived(HEARTBEAT)
            scripted.tick(10)
            assert scripted.transport.value().startswith(HEARTBEAT)
            sent += scripted.transport.value().count(HEARTBEAT)
        assert sent <= 10

    def test_are_not_sent_while_other_octets_are(self) -> None:
        scripted = ScriptedLink(heartbeat=10).open()
        receiver = scripted.attach()
        for _ in range(20):
            scripted.link.write(b"x")
            scripted.feed(b"y")
            scripted.tick(2)
        assert scripted.transport.value() == b"x" * 20
        assert receiver.octets == b"y" * 20

    @pytest.mark.parametrize("attached", [True, False])
    def test_silence_of_two_intervals_ends_the_link(self, attached: bool) -> None:
        scripted = ScriptedLink(heartbeat=10).open()
        receiver = scripted.attach() if attached else Receiver()
        scripted.tick(9)
        scripted.feed(b"\x08")
        scripted.tick(20)
        assert not scripted.transport.aborted
        scripted.tick(6)
        assert scripted.transport.aborted
        scripted.lose()
        if not attached:
            scripted.link.attach(receiver)
        text = "upstream 'primary' (localhost:5672) sent nothing for 20s, not even heartbeats"
        assert receiver.events == [("lost", text)]
        assert scripted.clock.getDelayedCalls() == []

    def test_silence_while_reading_is_paused_is_our_own_doing(self) -> None:
        scripted = ScriptedLink(heartbeat=10).open()
        scripted.attach()
        scripted.link.pause_reading()
        scripted.tick(100)
        assert not scripted.transport.aborted
        scripted.link.resume_reading()
        scripted.tick(20)
        assert not scripted.transport.aborted
        scripted.tick(10)
        assert scripted.transport.aborted

    def test_none_when_nobody_wants_them(self) -> None:
        scripted = ScriptedLink(heartbeat=0).open(heartbeat=0)
        assert scripted.clock.getDelayedCalls() == []


class TestFlowControl:
    def test_reading_stops_and_goes_on(self) -> None:
        scripted = ScriptedLink().open()
        scripted.attach()
        scripted.link.pause_reading()
        assert not scripted.transport.reading
        scripted.link.resume_reading()
        assert scripted.transport.reading

    def test_a_full_write_buffer_is_told_once(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        assert scripted.transport.streaming is True
        gauge = scripted.transport.producer
        for call in (gauge.pauseProducing, gauge.pauseProducing, gauge.resumeProducing, gauge.resumeProducing):
            call()
        assert receiver.events == [("full",), ("drained",)]

    def test_no_heartbeats_pile_up_for_an_upstream_that_does_not_read(self) -> None:
        scripted = ScriptedLink(heartbeat=10).open()
        scripted.attach()
        scripted.transport.producer.pauseProducing()
        for _ in range(10):
            scripted.feed(b"y")
            scripted.tick(10)
        assert scripted.transport.value() == b""


class TestEnds:
    def test_connection_close_of_the_upstream_is_answered_and_told_once(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        scripted.feed(FORCED)
        assert isinstance(scripted.sent()[-1], commands.Connection.CloseOk)
        assert scripted.transport.disconnecting
        assert scripted.transport.producer is None
        scripted.lose()
        assert receiver.events == [("closed", 320, "CONNECTION_FORCED - bye", 0, 0)]
        assert scripted.clock.getDelayedCalls() == []

    def test_connection_close_before_attach_is_told_at_attach(self) -> None:
        scripted = ScriptedLink().open().feed(FORCED).lose()
        assert scripted.attach().events == [("closed", 320, "CONNECTION_FORCED - bye", 0, 0)]

    def test_a_lost_connection_is_told_once(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        scripted.lose()
        assert receiver.events == [("lost", "upstream 'primary' (localhost:5672) closed the connection")]
        assert scripted.clock.getDelayedCalls() == []

    def test_a_connection_lost_before_attach_is_told_at_attach(self) -> None:
        scripted = ScriptedLink().open().lose()
        assert scripted.attach().events == [("lost", "upstream 'primary' (localhost:5672) closed the connection")]

    def test_nothing_is_told_after_abort(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        scripted.link.abort()
        assert scripted.transport.aborted
        assert scripted.transport.producer is None
        scripted.feed(DELIVERY, FORCED).lose()
        assert receiver.events == []
        assert receiver.octets == b""
        assert scripted.clock.getDelayedCalls() == []

    @pytest.mark.parametrize("attached", [True, False])
    @pytest.mark.parametrize("before", [b"", DELIVERY, DELIVERY[:11]])
    def test_close_link_waits_for_close_ok(self, attached: bool, before: bytes) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach() if attached else Receiver()
        scripted.link.pause_reading()
        closed = outcome(scripted.link.close_link(5))
        (close,) = scripted.sent()
        assert (close.reply_code, close.class_id, close.method_id) == (200, 0, 0)
        assert scripted.transport.reading, "close-ok could never come"
        scripted.feed(before, CLOSE_OK, cut=octet_by_octet)
        assert scripted.transport.disconnecting
        assert not scripted.transport.aborted
        assert closed == []
        scripted.lose()
        assert closed == [None]
        assert receiver.events == []
        assert scripted.clock.getDelayedCalls() == []

    def test_close_link_is_bounded(self) -> None:
        scripted = ScriptedLink().open()
        scripted.attach()
        closed = outcome(scripted.link.close_link(5))
        scripted.feed(DELIVERY)
        scripted.tick(4)
        assert not scripted.transport.aborted
        scripted.tick(1)
        assert scripted.transport.aborted
        scripted.lose()
        assert closed == [None]
        assert scripted.clock.getDelayedCalls() == []

    def test_close_link_twice_and_after_the_end(self) -> None:
        scripted = ScriptedLink().open()
        closed = outcome(scripted.link.close_link(5)) + outcome(scripted.link.close_link(1))
        assert len(scripted.sent()) == 1
        scripted.tick(1)
        assert scripted.transport.aborted
        scripted.lose()
        assert outcome(scripted.link.close_link(5)) == [None]
        assert scripted.clock.getDelayedCalls() == []
        assert closed == []

    def test_close_link_after_the_upstream_closed(self) -> None:
        scripted = ScriptedLink().open()
        scripted.attach()
        scripted.feed(FORCED)
        closed = outcome(scripted.link.close_link(1))
        assert [type(sent) for sent in scripted.sent()] == [commands.Connection.CloseOk]
        scripted.tick(1)
        assert scripted.transport.aborted
        scripted.lose()
        assert closed == [None]

    def test_close_link_in_the_handshake_aborts(self) -> None:
        scripted = ScriptedLink().feed(START)
        closed = outcome(scripted.link.close_link(5))
        assert scripted.transport.aborted
        scripted.lose()
        assert closed == [None]

    def test_closing_from_within_an_event_is_fine(self) -> None:
        scripted = ScriptedLink().open().feed(method(commands.Connection.Blocked("disk")))

        class Impatient(Receiver):
            def link_blocked(self, reason: str) -> None:
                scripted.link.abort()

        receiver = Impatient()
        scripted.link.attach(receiver)
        scripted.feed(DELIVERY).lose()
        assert receiver.octets == b""
        assert receiver.events == []


OPENED = method(commands.Channel.OpenOk(), OWN)


class TestRequests:
    def test_count_messages_opens_the_own_channel_once(self) -> None:
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

    def test_a_channel_error_fails_the_request_and_the_next_reopens(self) -> None:
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

    def test_a_late_answer_is_not_that_of_the_next_request(self) -> None:
        scripted = ScriptedLink(heartbeat=0).open(heartbeat=0)
        scripted.attach()
        late = outcome(scripted.link.count_messages("slow", 5))
        scripted.feed(OPENED)
        scripted.tick(5)
        (error,) = late
        assert isinstance(error, RequestFailed)
        assert error.text == (
            "upstream 'primary' (localhost:5672) did not answer queue.declare of 'slow' within 5s"
        )
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

    def test_a_cancelled_request_leaves_no_timer(self) -> None:
        scripted = ScriptedLink(heartbeat=0).open(heartbeat=0)
        scripted.attach()
        request = scripted.link.count_messages("q", 5)
        request.addErrback(lambda _: None)
        request.cancel()
        assert scripted.clock.getDelayedCalls() == []
        scripted.feed(OPENED, method(commands.Queue.DeclareOk("q", 1, 0), OWN))

    def test_update_secret(self) -> None:
        scripted = ScriptedLink().open()
        scripted.attach()
        updated = outcome(scripted.link.update_secret("s\0cret", "token expires", 5))
        (sent,) = scripted.sent()
        assert (sent.new_secret, sent.reason) == ("s\0cret", "token expires")
        scripted.feed(method(commands.Connection.UpdateSecretOk()))
        assert updated == [None]

    @pytest.mark.parametrize("end", ["lose", "forced", "abort", "close"])
    def test_requests_fail_when_the_link_ends(self, end: str) -> None:
        scripted = ScriptedLink().open()
        scripted.attach()
        requests = [
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

    def test_an_argument_that_fits_no_field_fails_only_its_request(self) -> None:
        scripted = ScriptedLink().open()
        receiver = scripted.attach()
        refused = outcome(scripted.link.count_messages("q" * 256, 5))
        scripted.feed(OPENED)
        assert isinstance(refused[0], TypeError)
        following = outcome(scripted.link.count_messages("q", 5))
        scripted.feed(method(commands.Queue.DeclareOk("q", 2, 0), OWN))
        assert following == [2]
        assert receiver.events == []

    def test_a_wrong_answer_fails_the_request(self) -> None:
        scripted = ScriptedLink().open()
        scripted.attach()
        request = outcome(scripted.link.count_messages("q", 5))
        scripted.feed(OPENED, method(commands.Queue.DeleteOk(0), OWN))
        assert isinstance(request[0], RequestFailed)


def test_a_link_that_never_connected_can_be_aborted() -> None:
    scripted = ScriptedLink()
    scripted.link.transport = None
    scripted.link.abort()
    assert isinstance(scripted.transport, SocketDouble)
    assert not scripted.transport.aborted
