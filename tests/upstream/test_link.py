"""An open link against a scripted upstream: octets, heartbeats and the ways it ends."""

from __future__ import annotations

import gc
import weakref

import pytest
from pamqp import commands

from tests.upstream.scripted import (
    CLOSE_OK,
    FORCED,
    HEARTBEAT,
    OPEN_OK,
    START,
    Receiver,
    ScriptedLink,
    SocketDouble,
    method,
    octet_by_octet,
    outcome,
    tune,
)

DELIVERY = method(commands.Basic.Deliver("tag", 1, False, "", "key"), 3)


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
        assert scripted.aborted()
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
        assert not scripted.aborted()
        scripted.tick(6)
        assert scripted.aborted()
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
        assert not scripted.aborted()
        scripted.link.resume_reading()
        scripted.tick(20)
        assert not scripted.aborted()
        scripted.tick(10)
        assert scripted.aborted()

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
        gauge = scripted.gauge()
        for call in (gauge.pauseProducing, gauge.pauseProducing, gauge.resumeProducing, gauge.resumeProducing):
            call()
        assert receiver.events == [("full",), ("drained",)]

    def test_no_heartbeats_pile_up_for_an_upstream_that_does_not_read(self) -> None:
        scripted = ScriptedLink(heartbeat=10).open()
        scripted.attach()
        scripted.gauge().pauseProducing()
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
        assert scripted.aborted()
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
        assert not scripted.aborted()
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
        assert not scripted.aborted()
        scripted.tick(1)
        assert scripted.aborted()
        scripted.lose()
        assert closed == [None]
        assert scripted.clock.getDelayedCalls() == []

    def test_close_link_twice_and_after_the_end(self) -> None:
        scripted = ScriptedLink().open()
        closed = outcome(scripted.link.close_link(5)) + outcome(scripted.link.close_link(1))
        assert len(scripted.sent()) == 1
        scripted.tick(1)
        assert scripted.aborted()
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
        assert scripted.aborted()
        scripted.lose()
        assert closed == [None]

    def test_close_link_in_the_handshake_aborts(self) -> None:
        scripted = ScriptedLink().feed(START)
        closed = outcome(scripted.link.close_link(5))
        assert scripted.aborted()
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


def test_nothing_of_a_link_stays() -> None:
    left = []
    for end in ("lose", "forced", "abort", "close", "handshake"):
        scripted = ScriptedLink()
        if end != "handshake":
            scripted.open()
            scripted.attach()
            scripted.link.count_messages("q", 5).addErrback(lambda _: None)
        if end == "forced":
            scripted.feed(FORCED)
        elif end == "abort":
            scripted.link.abort()
        elif end == "close":
            scripted.link.close_link(5)
        scripted.lose()
        left.append(weakref.ref(scripted.link))
        del scripted
    gc.collect()
    assert [link() for link in left] == [None] * 5


def test_a_link_that_never_connected_can_be_aborted() -> None:
    scripted = ScriptedLink()
    scripted.link.transport = None
    scripted.link.abort()
    assert isinstance(scripted.transport, SocketDouble)
    assert not scripted.aborted()
