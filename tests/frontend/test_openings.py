"""The links of a session before they are open: which events of the session come of what upstreams do.

Upstreams, links and, but for the end, the session are doubles; the whole way with real ones is tests/contract's and
tests/faults'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pamqp import commands
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.frontend.doubles import START_OK, Surroundings
from trabbits.frontend.openings import Openings
from trabbits.session import actions
from trabbits.session.settings import SessionSettings, UpstreamSettings
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.wire.constants import PROTOCOL_HEADER

LOGIN = actions.LoginRequest("PLAIN", "user", "secret", {}, "en_US")
VIRTUAL_HOST = actions.VirtualHostRequest("/", 131072, 2046, 60)
REFUSED = LinkRefused("a", "a:5672", 403, "ACCESS_REFUSED - no", 10, 11)
UNREACHABLE = LinkUnreachable("a", "a:5672", "upstream 'a' (a:5672) refused the TCP connection")


class LinkDouble:
    """A link that is opened by the test."""

    def __init__(self, name: str) -> None:
        self.node = f"{name}:5672"
        self.server_properties = {"product": name}
        #: Fires with the link that is open in the end.
        self.opening: Deferred[Any] | None = None
        self.aborted = False
        self.broken: Callable[[Any], None] = lambda _: None

    def abort(self) -> None:
        self.aborted = True


class UpstreamDouble:
    """An upstream whose answers are the test's; `failing` is what it answers at once."""

    def __init__(self, failing: Exception | None = None) -> None:
        self.failing = failing
        self.logins: list[Deferred[Any]] = []

    def open_link(self, request: Any) -> Deferred[Any]:
        assert request is LOGIN
        login: Deferred[Any] = Deferred()
        self.logins.append(login)
        if self.failing is not None:
            login.errback(self.failing)
        return login

    def when_broken(self, link: LinkDouble, tell: Callable[[Any], None]) -> None:
        link.broken = tell

    def open_virtual_host(self, link: LinkDouble, request: Any) -> Deferred[Any]:
        assert request is VIRTUAL_HOST
        link.opening = Deferred()
        return link.opening


class Stage:
    """Openings among doubles; `events` is what the session was told, and what else was heard."""

    def __init__(self, **upstreams: UpstreamDouble) -> None:
        self.upstreams = upstreams or {"a": UpstreamDouble(), "b": UpstreamDouble()}
        names = tuple(UpstreamSettings(name) for name in self.upstreams)
        self.settings = SessionSettings(upstreams=names, routing=None)  # type: ignore[arg-type]  # not asked
        self.events: list[tuple[Any, ...]] = []
        self.changes = 0
        #: What is done at each change.
        self.reaction: Callable[[], None] = lambda: None
        self.openings = Openings(
            self,  # type: ignore[arg-type]  # a double
            self.upstreams,  # type: ignore[arg-type]  # doubles
            opened=lambda name, link: self.events.append(("opened", name, link)),
            changed=self.change,
            unexpected=self.unexpected,
        )

    def change(self) -> None:
        self.changes += 1
        self.reaction()

    def unexpected(self, failure: Failure) -> None:
        self.events.append(("unexpected", failure.value))

    def link_authenticated(self, name: str, node: str, properties: Any) -> None:
        self.events.append(("authenticated", name, node, properties))

    def link_refused(self, name: str, *reply: Any) -> None:
        self.events.append(("refused", name, *reply))

    def link_unreachable(self, name: str, node: str, text: str) -> None:
        self.events.append(("unreachable", name, node, text))

    def taken(self) -> list[tuple[Any, ...]]:
        events, self.events = self.events, []
        return events

    def log_in(self) -> dict[str, LinkDouble]:
        """All upstreams accept the client; their links."""
        self.openings.open_links(actions.OpenLinks(dict.fromkeys(self.upstreams, LOGIN)))
        links = {}
        for name, upstream in self.upstreams.items():
            links[name] = LinkDouble(name)
            upstream.logins[-1].callback(links[name])
        return links

    def open(self) -> None:
        self.openings.open_virtual_host(actions.OpenVirtualHost(VIRTUAL_HOST))

    def cancel(self) -> None:
        self.openings.cancel(actions.CancelLinks())


def test_both_steps() -> None:
    stage = Stage()
    assert not stage.openings
    links = stage.log_in()
    assert [event[:3] for event in stage.taken()] == [
        ("authenticated", "a", "a:5672"),
        ("authenticated", "b", "b:5672"),
    ]
    assert stage.changes == 2
    assert not stage.openings
    stage.open()
    assert stage.openings
    for name in ("b", "a"):
        opening = links[name].opening
        assert opening is not None
        opening.callback(links[name])
        assert stage.taken() == [("opened", name, links[name])]
    assert not stage.openings


def test_some_may_be_asked_later() -> None:
    stage = Stage()
    for name in ("b", "a"):
        stage.openings.open_links(actions.OpenLinks({name: LOGIN}))
        assert stage.openings
        stage.upstreams[name].logins.pop().callback(LinkDouble(name))
        assert [event[1] for event in stage.taken()] == [name]
    assert not any(upstream.logins for upstream in stage.upstreams.values())


def test_the_link_that_opens_may_be_another_than_the_one_that_logged_in() -> None:
    stage = Stage(a=UpstreamDouble())
    link = stage.log_in()["a"]
    stage.taken()
    stage.open()
    assert link.opening is not None
    other = LinkDouble("other")
    link.opening.callback(other)
    assert stage.taken() == [("opened", "a", other)]
    assert not stage.openings


@pytest.mark.parametrize("step", ["login", "waiting", "opening"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (REFUSED, ("refused", "a", "a:5672", 403, "ACCESS_REFUSED - no", 10, 11)),
        (UNREACHABLE, ("unreachable", "a", "a:5672", "upstream 'a' (a:5672) refused the TCP connection")),
    ],
)
def test_failures_are_told_once_at_every_step(step: str, error: Exception, told: tuple[Any, ...]) -> None:
    stage = Stage()
    if step == "login":
        stage.openings.open_links(actions.OpenLinks(dict.fromkeys(stage.upstreams, LOGIN)))
        stage.upstreams["a"].logins[0].errback(error)
    else:
        links = stage.log_in()
        stage.taken()
        stage.changes = 0
        if step == "waiting":
            links["a"].broken(error)
        else:
            stage.open()
            opening = links["a"].opening
            assert opening is not None
            opening.errback(error)
    assert stage.taken() == [told]
    assert stage.changes == 1
    stage.cancel()
    assert not stage.openings
    assert stage.taken() == []


def test_a_failure_that_nobody_foresaw_is_reported_and_told() -> None:
    stage = Stage()
    stage.openings.open_links(actions.OpenLinks(dict.fromkeys(stage.upstreams, LOGIN)))
    error = RuntimeError("a bug")
    stage.upstreams["a"].logins[0].errback(error)
    text = "upstream 'a' could not be reached: a bug"
    assert stage.taken() == [("unexpected", error), ("unreachable", "a", "", text)]
    stage.cancel()


def test_giving_up_while_logging_in() -> None:
    stage = Stage()
    stage.openings.open_links(actions.OpenLinks(dict.fromkeys(stage.upstreams, LOGIN)))
    link = LinkDouble("a")
    stage.upstreams["a"].logins[0].callback(link)
    stage.taken()
    stage.cancel()
    assert link.aborted
    assert stage.upstreams["b"].logins[0].called
    assert not stage.openings
    assert stage.taken() == []
    stage.cancel()


def test_giving_up_while_the_client_is_waited_for() -> None:
    stage = Stage()
    links = stage.log_in()
    stage.taken()
    stage.cancel()
    assert all(link.aborted for link in links.values())
    stage.open()
    assert not stage.openings
    assert stage.taken() == []


def test_giving_up_while_the_virtual_host_is_opened() -> None:
    stage = Stage()
    links = stage.log_in()
    stage.open()
    stage.taken()
    stage.cancel()
    for link in links.values():
        assert link.opening is not None
        assert link.opening.called, "cancelling it is what ends the link"
    assert not stage.openings
    assert stage.taken() == []


def test_no_link_is_begun_after_one_failed_at_once() -> None:
    """The session gives up while its first request is still being carried out."""
    stage = Stage(a=UpstreamDouble(UNREACHABLE), b=UpstreamDouble())
    stage.reaction = stage.cancel
    stage.openings.open_links(actions.OpenLinks(dict.fromkeys(stage.upstreams, LOGIN)))
    assert stage.upstreams["b"].logins == []
    assert not stage.openings
    assert stage.taken() == [("unreachable", "a", "a:5672", UNREACHABLE.text)]


def test_no_link_is_opened_after_one_failed_at_once() -> None:
    stage = Stage()
    links = stage.log_in()
    stage.taken()
    stage.reaction = stage.cancel

    def fails(link: LinkDouble, request: Any) -> Deferred[Any]:
        failed: Deferred[Any] = Deferred()
        failed.errback(UNREACHABLE)
        return failed

    stage.upstreams["a"].open_virtual_host = fails  # type: ignore[method-assign]  # that is the double's purpose
    stage.open()
    assert links["b"].opening is None
    assert links["b"].aborted
    assert not stage.openings


# With a real session, while its links wait for the client


def waiting(**settings: Any) -> Surroundings:
    around = Surroundings(("a", "b"), **settings)
    around.runner.client_received(PROTOCOL_HEADER)
    around.send(START_OK)
    assert [method.name for method in around.heard()] == ["Connection.Start", "Connection.Tune"]
    return around


def assert_aborted(around: Surroundings, *names: str) -> None:
    for name, upstream in around.upstreams.items():
        (link,) = upstream.links
        assert link.told == (["abort"] if name in names else [])
        assert upstream.attempts == []


@pytest.mark.parametrize("end", ["vanishes", "says nothing", "is aborted"])
def test_the_links_go_with_their_client(end: str) -> None:
    around = waiting(handshake_timeout=4.0)
    if end == "says nothing":
        around.clock.advance(4.1)
        assert around.transport.half_closed
    elif end == "is aborted":
        around.runner.abort()
    around.lose_client()
    assert_aborted(around, "a", "b")
    around.assert_over()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (LinkUnreachable("a", "a:5672", "upstream 'a' (a:5672) closed the connection"), 320, "upstream 'a' (a:5672)"),
        (LinkRefused("a", "a:5672", 320, "CONNECTION_FORCED - bye"), 320, "CONNECTION_FORCED - bye (upstream 'a')"),
    ],
)
def test_a_link_that_breaks_ends_the_session(error: LinkUnreachable | LinkRefused, code: int, words: str) -> None:
    around = waiting()
    (link,) = around.upstreams["a"].links
    assert link.broken is not None
    link.broken(error)
    (close,) = around.heard()
    assert close.reply_code == code
    assert words in close.reply_text
    assert_aborted(around, "b")
    around.send(commands.Connection.CloseOk())
    around.lose_client()
    around.assert_over()


def test_a_login_that_cannot_be_cancelled_any_more() -> None:
    """The link that it brings all the same is ended at once."""
    stage = Stage()
    stage.openings.open_links(actions.OpenLinks(dict.fromkeys(stage.upstreams, LOGIN)))
    login = stage.upstreams["a"].logins[0]
    login.cancel = lambda: None  # type: ignore[method-assign]  # an answer was on its way
    stage.cancel()
    assert stage.openings
    link = LinkDouble("a")
    login.callback(link)
    assert link.aborted
    assert not stage.openings
    assert stage.taken() == []
