"""The surroundings of a session: flow control, links that open and fail, timers, and an end that leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from twisted.internet.defer import Deferred

from tests.frontend.doubles import START_OK, LinkDouble, Surroundings
from trabbits.log_ids import LogId
from trabbits.session import actions
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.wire.constants import PROTOCOL_HEADER

FAN = ("a", "b")


class TestFlowControl:
    def test_a_full_link_pauses_the_client(self) -> None:
        around = Surroundings()
        (link,) = around.open()
        link.events.link_full()
        assert not around.transport.reading
        assert not around.session.client_reading
        link.events.link_drained()
        assert around.transport.reading
        assert around.session.client_reading

    def test_the_client_is_read_when_the_last_full_link_is_drained(self) -> None:
        around = Surroundings(FAN)
        links = around.open()
        for link in links:
            link.events.link_full()
        links[0].events.link_drained()
        assert not around.transport.reading
        links[1].events.link_drained()
        assert around.transport.reading

    def test_a_full_client_pauses_all_links(self) -> None:
        around = Surroundings(FAN)
        links = around.open()
        around.transport.fill()
        assert [link.reading for link in links] == [False, False]
        around.transport.drain()
        assert [link.reading for link in links] == [True, True]

    def test_a_link_is_read_when_no_reason_against_it_is_left(self) -> None:
        """Asked for by the session, and a full client: each may end first."""
        around = Surroundings()
        (link,) = around.open()
        for first, last in (("client", "session"), ("session", "client")):
            around.transport.fill()
            self.ask(around, actions.PauseLink)
            for whose in (first, last):
                assert not link.reading
                if whose == "client":
                    around.transport.drain()
                else:
                    self.ask(around, actions.ResumeLink)
            assert link.reading

    @staticmethod
    def ask(around: Surroundings, action: type[actions.PauseLink] | type[actions.ResumeLink]) -> None:
        around.session.actions.append(action(around.session.links[0]))
        around.runner.flush()

    def test_a_link_that_opens_while_the_client_is_full(self) -> None:
        around = Surroundings(FAN).connect()
        around.upstreams["a"].opens()
        around.transport.fill()
        late = around.upstreams["b"].opens()
        assert not late.reading
        around.transport.drain()
        assert late.reading

    def test_requests_before_open_ok_wait_unread(self) -> None:
        around = Surroundings(FAN).connect()
        around.send(commands.Channel.Open(), channel=1)
        assert not around.transport.reading
        links = [upstream.opens() for upstream in around.upstreams.values()]
        assert around.transport.reading
        assert all(b"\x00\x14\x00\x0a" in link.sent for link in links)

    def test_a_full_link_that_ends_lets_the_client_be_read(self) -> None:
        """Or its close-ok would never be seen."""
        around = Surroundings()
        (link,) = around.open()
        link.events.link_full()
        link.events.link_lost("gone")
        assert around.transport.reading
        (close,) = around.heard()
        assert close.reply_code == 320
        around.send(commands.Connection.CloseOk())
        assert around.transport.half_closed

    def test_a_full_link_that_is_closed_lets_the_client_be_read(self) -> None:
        around = Surroundings(FAN)
        links = around.open()
        links[0].events.link_full()
        links[1].events.link_lost("gone")
        assert around.transport.reading

    def test_full_links_of_a_client_that_is_gone(self) -> None:
        """Late news of links that are being closed disturb nobody."""
        around = Surroundings(FAN)
        links = around.open()
        links[0].events.link_full()
        around.transport.fill()
        around.lose_client()
        links[0].events.link_drained()
        links[1].events.link_full()
        for link in links:
            link.gone.callback(None)
        around.assert_over()

    def test_a_link_is_read_to_its_end_whatever_is_full(self) -> None:
        """What it says then is for trabbits alone, and the client's close-ok must be read."""
        around = Surroundings()
        (link,) = around.open()
        around.transport.fill()
        self.ask(around, actions.PauseLink)
        link.events.link_full()
        assert not link.reading
        around.session.actions.append(actions.DrainLink(around.session.links[0]))
        around.runner.flush()
        assert link.reading
        assert around.transport.reading
        around.transport.drain()
        around.transport.fill()
        link.events.link_full()
        assert link.reading
        assert around.transport.reading


class TestOpeningLinks:
    def test_the_requests_carry_who_it_is_and_what_was_agreed(self) -> None:
        around = Surroundings(FAN).connect()
        for upstream in around.upstreams.values():
            (login,) = upstream.logins
            assert (login.username, login.password) == ("guest", "guest")
            assert login.client_properties["trabbits_client_address"] == "192.0.2.1:50000"
            (request,) = upstream.requests
            assert (request.virtual_host, request.channel_max, request.frame_max) == ("/", 100, 131072)

    def test_octets_go_where_they_belong(self) -> None:
        around = Surroundings()
        (link,) = around.open()
        around.open_channel(link)
        around.send(commands.Basic.Qos(prefetch_count=7), channel=1)
        assert link.sent.startswith(b"\x01\x00\x01\x00\x00\x00\x0b\x00\x3c\x00\x0a")
        link.say(commands.Basic.QosOk())
        assert [method.name for method in around.heard()] == ["Basic.QosOk"]
        link.say(commands.Connection.Blocked("memory"), channel=0)
        assert [octets[:3] for octets in link.control] == [b"\x01\x00\x00"]

    def test_one_refuses(self) -> None:
        """Its words for the client; the attempts that still run are given up, the link that is there is closed."""
        around = Surroundings(("a", "b", "c")).connect()
        opened = around.upstreams["a"].opens()
        around.upstreams["b"].attempts[0].errback(LinkRefused("b", "b:1", 530, "NOT_ALLOWED - no", 10, 40))
        (close,) = around.heard()
        assert (close.reply_code, close.reply_text) == (530, "NOT_ALLOWED - no")
        assert (close.class_id, close.method_id) == (10, 40)
        assert around.upstreams["c"].cancelled == 1
        assert opened.told == ["close within 1.0"]
        around.send(commands.Connection.CloseOk())
        around.lose_client()
        assert not around.finished
        opened.gone.callback(None)
        around.assert_over()

    def test_two_refuse(self) -> None:
        """The first one's words count."""
        around = Surroundings(FAN).connect()
        around.upstreams["b"].attempts[0].errback(LinkUnreachable("b", "b:1", "upstream 'b' (b:1) is not there"))
        (close,) = around.heard()
        assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - upstream 'b' (b:1) is not there")
        assert LogId.LINK_UNREACHABLE in around.entries()
        assert LogId.INTERNAL_ERROR not in around.entries()
        around.lose_client()
        around.assert_over()

    def test_an_attempt_that_fails_in_an_unforeseen_way(self) -> None:
        """Our bug: logged as such, and the client is not left waiting."""
        around = Surroundings().connect()
        around.upstreams["a"].attempts[0].errback(RuntimeError("oops"))
        (close,) = around.heard()
        assert close.reply_code == 320
        assert "upstream 'a'" in close.reply_text
        assert LogId.INTERNAL_ERROR in around.entries()
        around.lose_client()
        around.assert_over()

    @pytest.mark.parametrize("answer", ["opens", "fails"])
    def test_an_attempt_that_cannot_be_cancelled_any_more(self, answer: str) -> None:
        """The client has gone; a link that opens nevertheless is closed, and only then all is over."""
        around = Surroundings().connect()
        attempt = around.upstreams["a"].attempts[0]
        attempt.cancel = lambda: None  # type: ignore[method-assign]  # an answer was on its way
        around.lose_client()
        assert not around.finished
        if answer == "fails":
            attempt.errback(LinkUnreachable("a", "a:1", "not there"))
        else:
            link = around.upstreams["a"].opens()
            assert link.told == ["close within 1.0"]
            assert not around.finished
            link.gone.callback(None)
        around.assert_over()

    def test_the_client_goes_meanwhile(self) -> None:
        around = Surroundings(FAN).connect()
        opened = around.upstreams["a"].opens()
        around.lose_client()
        assert around.upstreams["b"].cancelled == 1
        opened.gone.callback(None)
        around.assert_over()

    def test_an_attempt_that_fails_at_once(self) -> None:
        """Before the next one has begun, which it is not then."""
        around = Surroundings(FAN)

        def refuse(request: actions.LoginRequest) -> Deferred[Any]:
            attempt: Deferred[Any] = Deferred()
            attempt.errback(LinkUnreachable("a", "a:1", "upstream 'a' is not there"))
            return attempt

        around.upstreams["a"].open_link = refuse  # type: ignore[method-assign]
        around.runner.client_received(PROTOCOL_HEADER)
        around.send(START_OK)
        assert around.heard()[-1].reply_code == 320
        assert around.upstreams["b"].logins == []
        around.lose_client()
        around.assert_over()


class TestTheEnd:
    def test_a_client_that_vanishes(self) -> None:
        around = Surroundings(FAN, heartbeat=10)
        links = around.open()
        around.lose_client()
        assert all(link.told == ["close within 1.0"] for link in links)
        assert not around.finished
        for link in links:
            link.gone.callback(None)
        around.assert_over()

    def test_a_client_that_leaves(self) -> None:
        """close-ok comes when the links are closed."""
        around = Surroundings(FAN, heartbeat=10)
        links = around.open()
        around.send(commands.Connection.Close(200, "bye", 0, 0))
        links[0].gone.callback(None)
        assert around.heard() == []
        links[1].gone.callback(None)
        assert [method.name for method in around.heard()] == ["Connection.CloseOk"]
        assert around.transport.half_closed
        around.lose_client()
        around.assert_over()

    def test_closing_is_bounded_on_all_sides(self) -> None:
        """Neither the client nor a link answers."""
        around = Surroundings(FAN, connection_close_timeout=3.0)
        links = around.open()
        around.runner.close(320, "CONNECTION_FORCED - bye")
        assert [method.name for method in around.heard()] == ["Connection.Close"]
        assert all(link.told == ["close within 3.0"] for link in links)
        around.clock.advance(3.1)
        assert around.transport.aborted
        assert LogId.CLOSE_TIMEOUT in around.entries()
        around.lose_client()
        for link in links:
            link.gone.callback(None)
        around.assert_over()

    @pytest.mark.parametrize("closed_before", [False, True])
    def test_abort(self, closed_before: bool) -> None:
        """Everything is dropped at once, and all is over without anybody's answer."""
        around = Surroundings(FAN, heartbeat=10)
        links = around.open()
        if closed_before:
            around.runner.close(320, "CONNECTION_FORCED - bye")
        around.runner.abort()
        assert around.transport.aborted
        assert all("abort" in link.told for link in links)
        around.lose_client()
        for link in links:
            if link.told[0].startswith("close"):
                link.gone.callback(None)
        around.assert_over()
        assert LogId.INTERNAL_ERROR not in around.entries()

    def declared(self) -> tuple[Surroundings, LinkDouble]:
        """A session with a queue to delete."""
        around = Surroundings(lasting=True)
        (link,) = around.open()
        around.open_channel(link)
        around.send(commands.Queue.Declare(queue="q", auto_delete=True), channel=1)
        link.say(commands.Queue.DeclareOk("q", 0, 0))
        return around, link

    def test_what_is_to_be_deleted_is_deleted_before_the_link_is_closed(self) -> None:
        around, link = self.declared()
        around.transport.fill()
        around.lose_client()
        assert link.reading
        assert link.told == []
        link.say(commands.Channel.CloseOk())
        assert link.told == ["consumers q"]
        link.answers[0].callback(1)
        around.clock.advance(0.1)
        assert link.told == ["consumers q"] * 2
        link.answers[1].callback(0)
        assert link.told == ["consumers q", "consumers q", "delete q"]
        link.answers[2].callback(None)
        assert link.told[3:] == ["close within 1.0"]
        assert not around.finished
        link.gone.callback(None)
        around.assert_over()
        assert LogId.QUEUE_DELETED in around.entries()

    @pytest.mark.parametrize("answers", [False, True])
    def test_deleting_is_bounded(self, answers: bool) -> None:
        around, link = self.declared()
        around.lose_client()
        if answers:
            link.say(commands.Channel.CloseOk())
        around.clock.advance(5.1)
        assert link.told[-1] == "close within 1.0"
        assert LogId.QUEUE_NOT_DELETED in around.entries()
        link.gone.callback(None)
        around.assert_over()

    @pytest.mark.parametrize("begun", [False, True])
    def test_abort_with_something_to_delete(self, begun: bool) -> None:
        around, link = self.declared()
        if begun:
            around.lose_client()
            link.say(commands.Channel.CloseOk())
        around.runner.abort()
        around.lose_client()
        assert link.told[-1] == "abort"
        assert LogId.QUEUE_NOT_DELETED in around.entries()
        assert LogId.INTERNAL_ERROR not in around.entries()
        around.assert_over()

    def test_abort_while_links_are_being_opened(self) -> None:
        around = Surroundings(FAN).connect()
        opened = around.upstreams["a"].opens()
        around.runner.abort()
        around.lose_client()
        assert around.upstreams["b"].cancelled == 1
        assert "abort" in opened.told
        around.assert_over()

    @pytest.mark.parametrize("octets", [b"", PROTOCOL_HEADER])
    def test_the_handshake_is_bounded(self, octets: bytes) -> None:
        around = Surroundings(handshake_timeout=4.0)
        around.runner.client_received(octets)
        around.clock.advance(4.1)
        assert LogId.HANDSHAKE_TIMEOUT in around.entries()
        assert around.transport.half_closed
        around.lose_client()
        around.assert_over()


class TestHeartbeats:
    def test_are_sent_and_expected(self) -> None:
        """Two intervals of silence are the end, without a word: nobody listens."""
        around = Surroundings(heartbeat=10)
        (link,) = around.open()
        for _ in range(3):
            around.clock.advance(5)
        assert around.transport.value() == b"\x08\x00\x00\x00\x00\x00\x00\xce" * 3
        assert not around.transport.aborted
        for _ in range(2):
            around.clock.advance(5)
        assert around.transport.aborted
        assert LogId.HEARTBEAT_MISSED in around.entries()
        around.lose_client()
        link.gone.callback(None)
        around.assert_over()

    def test_silence_of_a_client_that_is_not_read_means_nothing(self) -> None:
        around = Surroundings(heartbeat=10)
        (link,) = around.open()
        link.events.link_full()
        for _ in range(20):
            around.clock.advance(5)
        assert not around.transport.aborted
        link.events.link_drained()
        for _ in range(3):
            around.clock.advance(5)
        assert not around.transport.aborted
        for _ in range(2):
            around.clock.advance(5)
        assert around.transport.aborted
