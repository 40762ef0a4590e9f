"""Guarded sessions: between connection.open and the upstreams' turn, connection policies are asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.session.conftest import Opening
from tests.session.frames import Basic, Channel, Connection, on
from tests.session.playbook import Playbook
from trabbits.interfaces import Visitor
from trabbits.log_ids import LogId
from trabbits.session.phase import Phase


def asking(fresh: Opening, *upstreams: str, optional: str = "") -> Playbook:
    """A session that waits for its policies."""
    play = fresh(*upstreams, guarded=True, optional=optional)
    play.negotiate()
    assert play.session.phase is Phase.ADMITTING
    return play


def test_they_are_asked_about_who_it_is(fresh: Opening) -> None:
    play = fresh(guarded=True, capabilities={"basic.nack": True})
    play.negotiate()
    visitor = Visitor("proxy-1", "192.0.2.1:50000", "user", "/", {"capabilities": play.capabilities})
    assert f"AskPolicies {visitor}" in play.story()


def test_upstreams_have_their_turn_only_after_them(fresh: Opening) -> None:
    play = fresh(guarded=True)
    play.negotiate()
    play.do(play.session.admitted)
    (opening,) = play.taken_actions()
    assert opening.startswith("OpenVirtualHost")
    play.link_opens("a")
    play.expect_client(on(0, Connection.OpenOk()))
    assert play.session.phase is Phase.RUNNING


def test_a_refusal_answers_connection_open(fresh: Opening) -> None:
    play = asking(fresh)
    play.do(lambda: play.session.refused(530, "NOT_ALLOWED - no"))
    play.expect_client(on(0, Connection.Close(530, "NOT_ALLOWED - no", 10, 40)))
    assert play.taken_actions()[:2] == ["DismissPolicies", "CancelLinks"]
    play.do(lambda: play.session.refused(530, "NOT_ALLOWED - no"))
    play.do(play.session.admitted)
    play.expect_nothing()


def test_what_the_client_sends_early_is_kept(fresh: Opening) -> None:
    play = asking(fresh)
    play.client(on(1, Channel.Open()))
    assert play.session.client_scanner.stalled
    play.do(play.session.admitted)
    play.skip()
    play.link_opens("a")
    play.expect_client(on(0, Connection.OpenOk()))
    play.expect_link("a", on(1, Channel.Open()))
    play.client(on(1, Basic.Qos()))
    play.skip()


def closes(play: Playbook) -> None:
    play.client(on(0, Connection.Close(200, "bye", 0, 0)))


def vanishes(play: Playbook) -> None:
    play.do(lambda: play.session.client_lost("gone"))


def is_refused_by_the_broker(play: Playbook) -> None:
    play.do(lambda: play.session.link_refused("a", "a:1", 403, "ACCESS_REFUSED - no", 10, 11))


@pytest.mark.parametrize("event", [closes, vanishes, is_refused_by_the_broker])
def test_an_end_dismisses_them(event: Callable[[Playbook], None], fresh: Opening) -> None:
    """And their late answer changes nothing."""
    play = asking(fresh)
    event(play)
    assert "DismissPolicies" in play.taken_actions()
    play.skip()
    phase = play.session.phase
    play.do(play.session.admitted)
    play.expect_nothing()
    assert play.session.phase is phase


def test_an_end_of_an_open_session_dismisses_them_too(fresh: Opening) -> None:
    """They may hold the client back, whose close-ok is awaited."""
    play = asking(fresh)
    play.do(play.session.admitted)
    play.skip()
    play.link_opens("a")
    play.skip()
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - bye"))
    assert "DismissPolicies" in play.taken_actions()
    play.skip()


def test_an_upstream_that_goes_meanwhile_is_skipped_if_it_may(fresh: Opening) -> None:
    play = asking(fresh, "a", "b", optional="b")
    play.do(lambda: play.session.link_unreachable("b", "b:1", "gone"))
    play.expect_log(LogId.UPSTREAM_SKIPPED)
    assert play.session.phase is Phase.ADMITTING
    play.do(play.session.admitted)
    play.skip()
    play.link_opens("a")
    play.expect_client(on(0, Connection.OpenOk()))


def test_sessions_without_policies_ask_nobody(fresh: Opening) -> None:
    play = fresh()
    play.negotiate()
    assert play.session.phase is Phase.CONNECTING
