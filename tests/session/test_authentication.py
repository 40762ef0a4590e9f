"""Who the client is: mechanisms of any number of steps, sound ones and broken ones, and who proves the client.

Covered: what is announced and accepted, challenges, refusals, faults of a mechanism, mapped credentials with upstreams
that are there or not, new secrets.  Not covered here: the built-in mechanisms (tests/plugins), what upstreams answer
(test_login.py), the plan itself (test_credentials.py).
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.session.conftest import Opening
from tests.session.frames import PROTOCOL_HEADER, Connection, connection_close, decoded, on
from tests.session.mechanisms import Odd, TwoSteps
from tests.session.playbook import CAPABILITIES, Playbook
from trabbits.interfaces import Challenge, ClientCertificate, Credentials, Identity, Peer, Refusal
from trabbits.log_ids import LogId
from trabbits.plugins.plain import Plain
from trabbits.session.authentication import CHALLENGE_MAX, CHALLENGES, MechanismSettings
from trabbits.session.credentials import Mapped
from trabbits.session.phase import Phase
from trabbits.wire import constants as amqp
from trabbits.wire.encode import frame

CERTIFICATE = ClientCertificate("CN=app", "app")
TUNE = Connection.Tune(2046, 131072, 60)
END = ("CancelTimer handshake", "CancelTimer heartbeat")
CLOSING = (*END, "SetTimer close 1")


def greeted(play: Playbook) -> list[str]:
    """Send the protocol header; the mechanisms that are announced."""
    play.client(PROTOCOL_HEADER)
    (start,) = play.taken("client")
    announced: Any = decoded(start)
    return str(announced.mechanisms).split()


def start_ok(mechanism: str, response: str = "", capabilities: Any = None) -> bytes:
    properties: Any = {"capabilities": CAPABILITIES if capabilities is None else capabilities}
    return on(0, Connection.StartOk(properties, mechanism, response, "en_US"))


def secure(octets: bytes) -> bytes:
    """A connection.secure: pamqp would encode no octets that are not UTF-8."""
    arguments = len(octets).to_bytes(4, "big") + octets
    return frame(amqp.FRAME_METHOD, 0, amqp.CONNECTION_SECURE.to_bytes(4, "big") + arguments)


def failed(play: Playbook, plugin: str, words: str) -> None:
    """The client heard that the mechanism failed, and the log says why."""
    text = f"INTERNAL_ERROR - authentication mechanism '{plugin}' failed; the log of trabbits has more"
    play.expect_client(connection_close(541, text))
    play.expect_actions(*CLOSING)
    entry, fields = play.logged[-2]
    assert (entry, fields["plugin"]) == (LogId.MECHANISM_FAILED, plugin)
    assert words in fields["text"]
    assert "hunter2" not in str(play.logged)


# What is announced


def test_mechanisms_are_announced_by_priority_and_order(fresh: Opening) -> None:
    odd = [Odd(name=name, priority=priority) for name, priority in [("A", 0), ("B", 7), ("C", 0), ("D", -1), ("E", 7)]]
    assert greeted(fresh(mechanisms=odd)) == ["B", "E", "A", "C", "D"]


@pytest.mark.parametrize("tls", [True, False])
def test_some_are_for_encrypted_connections_only(tls: bool, fresh: Opening) -> None:
    play = fresh(mechanisms=[Plain(), Odd(Identity("app"), needs_tls=True)])
    if tls:
        play.do(lambda: play.session.client_secured(None))
    assert greeted(play) == (["PLAIN", "ODD"] if tls else ["PLAIN"])
    play.client(start_ok("ODD"))
    if tls:
        play.expect_log(LogId.CLIENT_CONNECTED, LogId.LOGIN_REFUSED, LogId.CLIENT_CLOSED)
    else:
        text = "COMMAND_INVALID - unsupported authentication mechanism 'ODD'; supported are PLAIN"
        play.expect_client(connection_close(503, text))
        play.expect_log(LogId.CLIENT_CONNECTED, LogId.CLIENT_VIOLATION, LogId.CLIENT_CLOSED)
    play.skip()


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "plain", ""])
def test_one_that_was_not_announced(mechanism: str, fresh: Opening) -> None:
    play = fresh()
    greeted(play)
    play.client(start_ok(mechanism, "\0guest\0guest"))
    text = f"unsupported authentication mechanism {mechanism!r}; supported are PLAIN, AMQPLAIN"
    play.expect_client(connection_close(503, f"COMMAND_INVALID - {text}"))
    play.expect_actions(*CLOSING)


def test_nothing_is_announced_where_nothing_is_possible(fresh: Opening) -> None:
    play = fresh(mechanisms=[Plain(needs_tls=True)])
    assert greeted(play) == []
    play.client(start_ok("PLAIN", "\0guest\0guest"))
    text = "unsupported authentication mechanism 'PLAIN'; supported are none on this connection"
    play.expect_client(connection_close(503, f"COMMAND_INVALID - {text}"))
    play.expect_actions(*CLOSING)


@pytest.mark.parametrize("certificate", [None, CERTIFICATE])
def test_a_mechanism_is_told_whom_it_deals_with(certificate: ClientCertificate | None, fresh: Opening) -> None:
    odd = Odd(Identity("app", Credentials("app", "x")))
    play = fresh(mechanisms=[odd])
    play.do(lambda: play.session.client_secured(certificate))
    greeted(play)
    play.client(start_ok("ODD", "hunter2"))
    play.skip()
    assert odd.peers == [Peer("192.0.2.1:50000", tls=True, certificate=certificate)]
    assert odd.heard == [b"hunter2"]


# Steps


def test_a_mechanism_of_two_steps(fresh: Opening) -> None:
    play = fresh("a", "b", mechanisms=[TwoSteps()])
    greeted(play)
    play.client(start_ok("TWO-STEPS", "user"))
    play.expect_client(secure(b"password of user\xff?"))
    play.expect_actions("SetTimer handshake 5")
    play.client(on(0, Connection.SecureOk("secret")))
    (cancelled, links) = play.taken_actions()
    assert cancelled == "CancelTimer handshake"
    assert links.count("mechanism='PLAIN', username='user'") == 2
    assert "secret" not in links
    assert play.session.phase is Phase.AUTHENTICATING
    assert play.session.user == "user"
    play.log_in()
    play.expect_client(on(0, TUNE))
    play.expect_actions("SetTimer handshake 5")


def test_both_steps_in_one_go(fresh: Opening) -> None:
    """What comes before its time is taken in order."""
    play = fresh(mechanisms=[TwoSteps()])
    play.client(PROTOCOL_HEADER, start_ok("TWO-STEPS", "user"), on(0, Connection.SecureOk("secret")))
    play.skip()
    assert play.session.phase is Phase.AUTHENTICATING


def test_each_answer_of_the_client_has_its_time(fresh: Opening) -> None:
    play = fresh(mechanisms=[Odd(Challenge(b""))], handshake_timeout=3.0)
    greeted(play)
    play.client(start_ok("ODD"))
    for _ in range(3):
        play.expect_client(secure(b""))
        play.expect_actions("SetTimer handshake 3")
        play.client(on(0, Connection.SecureOk("")))
    play.skip()
    play.do(lambda: play.session.timer_fired("handshake"))
    play.expect_actions(*END, "CloseClient")
    play.expect_log(LogId.HANDSHAKE_TIMEOUT)


def test_the_client_may_leave_in_the_middle(fresh: Opening) -> None:
    play = fresh(mechanisms=[TwoSteps()])
    greeted(play)
    play.client(start_ok("TWO-STEPS", "user"))
    play.skip()
    play.client(on(0, Connection.Close(200, "", 0, 0)))
    play.expect_client(on(0, Connection.CloseOk()))
    play.expect_actions(*END, "CancelTimer close", "CloseClient")


# Refusals


def test_a_refusal_is_told(fresh: Opening) -> None:
    play = fresh(mechanisms=[Odd(Refusal(403, "ACCESS_REFUSED - no"))])
    greeted(play)
    play.client(start_ok("ODD"))
    play.expect_client(connection_close(403, "ACCESS_REFUSED - no"))
    play.expect_actions(*CLOSING)
    play.expect_log(LogId.CLIENT_CONNECTED, LogId.LOGIN_REFUSED, LogId.CLIENT_CLOSED)


def test_403_is_a_closed_socket_for_clients_that_know_no_better(fresh: Opening) -> None:
    """As when an upstream refuses the password."""
    play = fresh(mechanisms=[Odd(Refusal(403, "ACCESS_REFUSED - no"))])
    greeted(play)
    play.client(start_ok("ODD", capabilities={}))
    play.expect_actions(*END, "CloseClient")
    play.expect_log(LogId.CLIENT_CONNECTED, LogId.LOGIN_REFUSED, LogId.CLIENT_CLOSED)


def test_other_refusals_are_told_to_every_client(fresh: Opening) -> None:
    play = fresh()
    greeted(play)
    response = b"\0user\0\xff"
    arguments = [bytes(4), b"\x05PLAIN", len(response).to_bytes(4, "big"), response, b"\x05en_US"]
    play.client(frame(1, 0, amqp.CONNECTION_START_OK.to_bytes(4, "big") + b"".join(arguments)))
    text = "SYNTAX_ERROR - PLAIN login refused: user or password is not UTF-8"
    play.expect_client(connection_close(502, text))
    play.expect_actions(*CLOSING)


# Mechanisms that misbehave


def raising() -> Any:
    raise ValueError("hunter2")


def exiting(peer: object = None) -> Any:
    sys.exit("hunter2")


class Exiting:
    """A mapping that nobody can look into."""

    def keys(self) -> Any:
        exiting()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raising, "ValueError in test_authentication.py, line "),
        (exiting, "SystemExit in test_authentication.py, line "),
        (Identity("app", None, Exiting()), "no mapping"),  # type: ignore[arg-type]  # on purpose, and so below
        (None, "it answered a NoneType"),
        (b"hunter2", "it answered a bytes"),
        (Refusal(403, None), "it answered a Refusal"),  # type: ignore[arg-type]
        (Refusal(0, "text"), "it answered a Refusal"),
        (Challenge("text"), "its challenge is not bytes"),  # type: ignore[arg-type]
        (Challenge(bytes(CHALLENGE_MAX + 1)), "at most 4080"),
        (Identity(None), "no text for a user"),  # type: ignore[arg-type]
        (Identity("app", ("app", "hunter2")), "credentials that no upstream"),  # type: ignore[arg-type]
        (Identity("app", Credentials("app", "hunter2", "EXTERNAL")), "credentials that no upstream"),
        (Identity("app", Credentials("app", b"hunter2")), "credentials that no upstream"),  # type: ignore[arg-type]
        (Identity("admin", Credentials("app", "hunter2")), "credentials are another user's"),
        (Identity("app", None, {"a": "hunter2"}), "credentials that no upstream"),  # type: ignore[dict-item]
        (Identity("app", None, 5), "no mapping"),  # type: ignore[arg-type]
        (Identity("app", verified=1), "neither verified nor not"),  # type: ignore[arg-type]
    ],
)
def test_a_mechanism_that_fails(answer: Any, words: str, fresh: Opening) -> None:
    """541 for its client, its name in the log, and no secret anywhere."""
    play = fresh(mechanisms=[Odd(answer)])
    greeted(play)
    play.client(start_ok("ODD", "hunter2"))
    failed(play, "Odd", words)


def test_one_that_fails_at_the_second_step(fresh: Opening) -> None:
    play = fresh(mechanisms=[Odd(Challenge(b"?"), raising)])
    greeted(play)
    play.client(start_ok("ODD"))
    play.expect_client(secure(b"?"))
    play.skip()
    play.client(on(0, Connection.SecureOk("hunter2")))
    failed(play, "Odd", "ValueError")


@pytest.mark.parametrize(("begin", "kind"), [(lambda peer: raising(), "ValueError"), (exiting, "SystemExit")])
def test_one_that_cannot_begin(fresh: Opening, begin: Any, kind: str) -> None:
    play = fresh(mechanisms=[Odd(begin=begin)])
    greeted(play)
    play.client(start_ok("ODD"))
    failed(play, "Odd", kind)


def test_one_that_begins_nothing(fresh: Opening) -> None:
    play = fresh(mechanisms=[Odd(begin=lambda peer: None)])
    greeted(play)
    play.client(start_ok("ODD"))
    failed(play, "Odd", "AttributeError")


def test_one_without_an_end(fresh: Opening) -> None:
    play = fresh(mechanisms=[Odd(Challenge(b""))])
    greeted(play)
    play.client(start_ok("ODD"))
    for _ in range(CHALLENGES - 1):
        play.expect_client(secure(b""))
        play.skip()
        play.client(on(0, Connection.SecureOk("")))
    play.skip()
    play.client(on(0, Connection.SecureOk("")))
    failed(play, "Odd", "it came to no end within 10 challenges")


def test_one_that_verifies_though_it_does_not(fresh: Opening) -> None:
    """What was said of a configuration with it would not hold."""
    play = fresh(mechanisms=[Odd(Identity("app", verified=True), verifies=False)])
    greeted(play)
    play.client(start_ok("ODD"))
    failed(play, "Odd", "does not say that it verifies")


@pytest.mark.parametrize(
    "attributes",
    [
        {"name": ""},
        {"name": "plain"},
        {"name": "TWO WORDS"},
        {"name": "A" * 21},
        {"name": b"PLAIN"},
        {"name": "PLAIN\n"},
        {"priority": "high"},
        {"needs_tls": None},
        {"verifies": "yes"},
    ],
)
def test_attributes_that_are_none(attributes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        MechanismSettings.of("x", Odd(**attributes))


# Who proves the client

NEW = Mapped("new")


def logging_in(fresh: Opening, *upstreams: str, response: str = "\0app\0old", **options: Any) -> Playbook:
    """A client that has sent its response, by PLAIN."""
    play = fresh(*upstreams, **options)
    greeted(play)
    play.client(start_ok("PLAIN", response))
    return play


def refused(play: Playbook, why: str, *actions: str) -> None:
    """403 without a reason for the client, and with one in the log."""
    more = "Login was refused using authentication mechanism PLAIN. For details see the log of trabbits."
    play.expect_client(connection_close(403, f"ACCESS_REFUSED - {more}"))
    play.expect_actions(*actions, *CLOSING)
    entry, fields = play.logged[-2]
    assert entry is LogId.LOGIN_REFUSED
    assert fields["text"] == why


def test_each_upstream_gets_its_own_credentials(fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", mapped={"b": {"app": Mapped("new", "app-b")}})
    (_, first) = play.taken_actions()
    assert first.startswith("OpenLinks a LoginRequest(mechanism='PLAIN', username='app',")
    assert "app-b" not in first
    play.log_in("a")
    (then,) = play.taken_actions()
    assert then.startswith("OpenLinks b LoginRequest(mechanism='PLAIN', username='app-b',")
    play.log_in("b")
    play.expect_client(on(0, TUNE))
    play.expect_actions("SetTimer handshake 5")
    assert play.session.user == "app"


@pytest.mark.parametrize("mapped", [{"a": {"app": NEW}, "b": {"*": NEW}}, {"a": {"*": NEW}, "b": {"app": NEW}}])
def test_nobody_comes_in_whose_password_nobody_knows(mapped: Any, fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", mapped=mapped)
    refused(play, "nobody can check the password of user 'app': every upstream has mapped credentials")


def test_a_password_that_trabbits_checks(fresh: Opening) -> None:
    mapped = {"a": {"app": Mapped("new", client_password="old")}}
    play = logging_in(fresh, mapped=mapped)
    play.skip()
    play.log_in()
    play.expect_client(on(0, TUNE))
    play.skip()
    play = logging_in(fresh, mapped=mapped, response="\0app\0guess")
    refused(play, "user 'app' did not show the client_password for upstream 'a'")


def test_a_wrong_password_is_for_its_upstream_to_refuse(fresh: Opening) -> None:
    """And the others have not heard of it."""
    play = logging_in(fresh, "a", "b", mapped={"b": {"app": NEW}}, response="\0app\0guess")
    play.skip()
    play.do(lambda: play.session.link_refused("a", "a.example:5672", 403, "ACCESS_REFUSED - no", 0, 0))
    play.expect_client(connection_close(403, "ACCESS_REFUSED - no"))
    play.expect_actions("CancelLinks", *CLOSING)


def test_an_upstream_that_is_left_out_proves_nothing(fresh: Opening) -> None:
    """It was the only one that knows the client's password."""
    play = logging_in(fresh, "a", "b", mapped={"b": {"app": NEW}}, optional="a")
    play.skip()
    why = (
        "nobody could check the password of user 'app': 'a' cannot be reached, "
        "and all other upstreams have mapped credentials"
    )
    play.do(lambda: play.session.link_unreachable("a", "", "upstream 'a' is down"))
    refused(play, why, "CancelLinks")


def test_one_of_two_that_know_the_password_is_enough(fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", "c", mapped={"b": {"app": NEW}}, optional="a")
    play.skip()
    play.log_in("c")
    (links,) = play.taken_actions()
    assert links.startswith("OpenLinks b ")
    play.log_in("b")
    play.expect_nothing()
    play.do(lambda: play.session.link_unreachable("a", "", "upstream 'a' is down"))
    play.expect_client(on(0, TUNE))
    play.expect_actions("SetTimer handshake 5")


@pytest.mark.parametrize("which", ["a", "b"])
def test_the_others_may_be_left_out_as_ever(which: str, fresh: Opening) -> None:
    """The client is proven, whatever comes of the one that proved it and of those that are told what is mapped."""
    play = logging_in(fresh, "a", "b", mapped={"b": {"app": NEW}}, optional="ab")
    play.skip()
    play.log_in("a")
    play.skip()
    play.do(lambda: play.session.link_unreachable(which, "", "down"))
    if which == "a":
        play.log_in("b")
    play.expect_client(on(0, TUNE))
    play.expect_actions("SetTimer handshake 5")


@pytest.mark.parametrize("optional", ["", "a"])
def test_who_is_verified_needs_nobody(optional: str, fresh: Opening) -> None:
    mapped = {"a": {"app": NEW}, "b": {"*": NEW}}
    play = fresh("a", "b", mechanisms=[Odd(Identity("app", verified=True))], mapped=mapped, optional=optional)
    greeted(play)
    play.client(start_ok("ODD"))
    play.skip()
    if optional:
        play.do(lambda: play.session.link_unreachable("a", "", "upstream 'a' is down"))
        play.log_in("b")
    else:
        play.log_in("a", "b")
    play.expect_client(on(0, TUNE))
    play.expect_actions("SetTimer handshake 5")


def test_who_has_no_credentials_for_an_upstream(fresh: Opening) -> None:
    play = fresh("a", "b", mechanisms=[Odd(Identity("app", verified=True))], mapped={"a": {"app": NEW}})
    greeted(play)
    play.client(start_ok("ODD"))
    text = "user 'app' has no credentials for upstream 'b'"
    whole = f"ACCESS_REFUSED - Login was refused using authentication mechanism ODD: {text}"
    play.expect_client(connection_close(403, whole))
    play.expect_actions(*CLOSING)
    assert play.logged[-2][1]["text"] == text


# New secrets


@pytest.mark.parametrize(
    ("mapped", "told"), [({}, "ab"), ({"b": {"user": NEW}}, "a"), ({"a": {"user": NEW}, "b": {"user": NEW}}, "")]
)
def test_a_new_secret_is_for_those_who_knew_the_old_one(mapped: Any, told: str, fresh: Opening) -> None:
    """What others have for this client has nothing to do with it."""
    odd = Odd(Identity("user", Credentials("user", "secret"), verified=True), name="PLAIN")
    play = fresh("a", "b", mechanisms=[odd], mapped=mapped)
    play.open()
    play.client(on(0, Connection.UpdateSecret("newer", "expired")))
    play.expect_actions(*[f"UpdateSecret {name} newer expired" for name in told])
    for name in told:
        play.do(lambda: play.session.secret_updated(play.links[name]))  # noqa: B023 - called at once
    play.expect_client(on(0, Connection.UpdateSecretOk()))
