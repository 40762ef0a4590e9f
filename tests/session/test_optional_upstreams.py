"""Upstreams that are not required: a session opens without one that is down, and says so when it is missed."""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.fans import confirm, transact
from tests.session.frames import (
    PROTOCOL_HEADER,
    Basic,
    Channel,
    Confirm,
    Connection,
    Exchange,
    Queue,
    channel_close,
    connection_close,
    content,
    on,
    publish,
)
from tests.session.playbook import Playbook
from trabbits.log_ids import LogId
from trabbits.session.phase import Phase

GONE = "upstream 'b' (b.example:5672) refused the TCP connection"
NOT_ATTACHED = "NOT_FOUND - upstream 'b' is not attached to this connection: no way to exchange 'x' with key 'b.1'"


def logging_in(fresh: Opening, *upstreams: str, optional: str) -> Playbook:
    """A session whose upstreams are being asked about the client."""
    play = fresh(*upstreams, optional=optional)
    play.client(PROTOCOL_HEADER)
    play.skip()
    play.client(on(0, Connection.StartOk({}, "PLAIN", "\0user\0secret")))
    play.skip()
    return play


def unreachable(play: Playbook, name: str, text: str = GONE) -> None:
    """An upstream is not there."""
    play.do(lambda: play.session.link_unreachable(name, f"{name}.example:5672", text))


def refused(play: Playbook, name: str, code: int, text: str = "no") -> None:
    """An upstream refuses."""
    play.do(lambda: play.session.link_refused(name, f"{name}.example:5672", code, text, 10, 40))


def without_b(fresh: Opening, *, channel: bool = True) -> Playbook:
    """A session of a and b, open with a alone."""
    play = fresh("a", "b", optional="b")
    play.negotiate()
    play.link_opens("a")
    unreachable(play, "b")
    play.skip()
    assert play.session.phase is Phase.RUNNING
    if channel:
        play.open_channel(1)
    return play


@pytest.mark.parametrize("first", ["a", "b"])
def test_the_client_is_tuned_with_when_all_others_accepted_it(first: str, fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", optional="b")
    if first == "a":
        play.log_in("a")
        unreachable(play, "b")
    else:
        unreachable(play, "b")
        play.log_in("a")
    assert [frame[7:11] for frame in play.taken("client")] == [bytes((0, 10, 0, 30))]
    assert play.taken_actions() == ["SetTimer handshake 5"]
    assert (LogId.UPSTREAM_SKIPPED, {"upstream": "b", "text": GONE}) in play.logged
    assert LogId.LINK_UNREACHABLE not in [entry for entry, _ in play.logged]


@pytest.mark.parametrize("first", ["a", "b"])
def test_the_session_opens_when_all_others_opened_the_virtual_host(first: str, fresh: Opening) -> None:
    play = fresh("a", "b", optional="b")
    play.negotiate()
    if first == "a":
        play.link_opens("a")
        unreachable(play, "b")
    else:
        unreachable(play, "b")
        play.link_opens("a")
    play.expect_client(on(0, Connection.OpenOk()))
    assert play.logged[-1][1]["upstreams"] == ["a"]


def test_one_that_breaks_while_the_client_has_to_speak(fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", optional="b")
    play.log_in()
    play.skip()
    unreachable(play, "b")
    play.client(on(0, Connection.TuneOk(100, 131072, 0), Connection.Open("/")))
    play.skip()
    play.link_opens("a")
    play.expect_client(on(0, Connection.OpenOk()))


@pytest.mark.parametrize("how", ["lost", "closed"])
def test_one_that_breaks_before_the_others_are_open(how: str, fresh: Opening) -> None:
    play = fresh("a", "b", optional="b")
    play.negotiate()
    play.link_opens("b")
    link = play.links.pop("b")
    if how == "lost":
        play.do(lambda: play.session.link_lost(link, GONE))
    else:
        play.do(lambda: play.session.link_closed(link, 320, "CONNECTION_FORCED - bye", 0, 0))
    play.link_opens("a")
    play.expect_client(on(0, Connection.OpenOk()))
    assert [link.name for link in play.session.links] == ["a"]
    assert LogId.UPSTREAM_SKIPPED in [entry for entry, _ in play.logged]


@pytest.mark.parametrize(
    ("code", "text"), [(320, "CONNECTION_FORCED"), (506, "no"), (541, "vhost down"), (530, "node connection limit (9)")]
)
@pytest.mark.parametrize("when", ["login", "virtual host"])
def test_a_refusal_that_is_about_the_node_skips_it(when: str, code: int, text: str, fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", optional="b")
    play.log_in(*("a" if when == "login" else "ab"))
    play.skip()
    if when == "login":
        refused(play, "b", code, text)
        play.skip()
    play.client(on(0, Connection.TuneOk(100, 131072, 0), Connection.Open("/")))
    play.skip()
    play.link_opens("a")
    if when == "virtual host":
        refused(play, "b", code, text)
    play.expect_client(on(0, Connection.OpenOk()))


@pytest.mark.parametrize("code", [403, 530])
def test_a_refusal_that_is_about_the_client_is_the_clients(code: int, fresh: Opening) -> None:
    play = fresh("a", "b", optional="b")
    play.negotiate()
    refused(play, "b", code)
    play.expect_client(connection_close(code, "no", Connection.Open))
    play.skip()


def test_a_required_one_that_is_down_closes_the_connection(fresh: Opening) -> None:
    play = fresh("a", "b", optional="b")
    play.negotiate()
    unreachable(play, "a", "upstream 'a' is gone")
    play.expect_client(connection_close(320, "CONNECTION_FORCED - upstream 'a' is gone"))
    play.skip()
    unreachable(play, "b")
    play.expect_log(LogId.LINK_UNREACHABLE)


def test_not_without_any(fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", optional="ab")
    unreachable(play, "b")
    unreachable(play, "a", "upstream 'a' is gone")
    play.expect_client(connection_close(320, "CONNECTION_FORCED - upstream 'a' is gone"))
    play.skip()


def test_a_plain_session_needs_its_upstream_even_so(fresh: Opening) -> None:
    play = logging_in(fresh, "b", optional="b")
    unreachable(play, "b")
    play.expect_client(connection_close(320, f"CONNECTION_FORCED - {GONE}"))
    play.skip()


def test_a_link_that_is_lost_later_ends_the_session(fresh: Opening) -> None:
    play = fresh("a", "b", optional="b")
    play.open()
    play.do(lambda: play.session.link_lost(play.links["b"], GONE))
    play.expect_client(connection_close(320, f"CONNECTION_FORCED - {GONE}"))
    play.skip()


def test_everything_else_is_a_fan_session_with_one_link(fresh: Opening) -> None:
    play = without_b(fresh)
    play.client(on(1, Exchange.Declare(exchange="x")))
    play.expect_link("a", on(1, Exchange.Declare(exchange="x")))
    play.link("a", on(1, Exchange.DeclareOk()))
    play.expect_client(on(1, Exchange.DeclareOk()))
    play.client(on(1, Basic.Get(queue="q")))
    play.expect_link("a", on(1, Basic.Get(queue="q")))
    play.link("a", on(1, Basic.GetEmpty()))
    play.expect_client(on(1, Basic.GetEmpty()))
    play.client(publish(1, "a.1", b"to a"), publish(1, "whoever", b"to the first that is there"))
    play.expect_link("a", publish(1, "a.1", b"to a"), publish(1, "whoever", b"to the first that is there"))
    play.client(on(1, Channel.Close(200, "bye", 0, 0)))
    play.expect_link("a", on(1, Channel.Close(200, "bye", 0, 0)))
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_client(on(1, Channel.CloseOk()))


def test_no_opinion_means_the_first_upstream_that_is_attached(fresh: Opening) -> None:
    play = fresh("a", "b", optional="a")
    play.negotiate()
    unreachable(play, "a")
    play.link_opens("b")
    play.skip()
    play.open_channel(1)
    play.client(publish(1, "whoever", b"m"))
    play.expect_link("b", publish(1, "whoever", b"m"))


def test_a_publish_for_it_is_rejected_in_confirm_mode(fresh: Opening) -> None:
    """When its content has come, in sequence with the others'; however often, it is logged once."""
    play = without_b(fresh)
    confirm(play)
    play.logged.clear()
    play.client(publish(1, "a.1", b"1"), publish(1, "b.1", b"2"), publish(1, "a.1", b"3"), publish(1, "b.1", b""))
    play.expect_link("a", publish(1, "a.1", b"1"), publish(1, "a.1", b"3"))
    play.expect_client(on(1, Basic.Nack(2, False, False), Basic.Nack(4, False, False)))
    play.expect_log(LogId.UPSTREAM_NOT_ATTACHED)
    play.link("a", on(1, Basic.Ack(2, True)))
    play.expect_client(on(1, Basic.Ack(3, True)))
    play.client(publish(1, "b.2", b"5"))
    play.expect_client(on(1, Basic.Nack(5, False, False)))
    play.expect_log()


def test_it_is_rejected_when_it_is_whole(fresh: Opening) -> None:
    play = without_b(fresh)
    confirm(play)
    octets = publish(1, "b.1", b"in two pieces")
    for cut in (octets[:30], octets[30:-1]):
        play.client(cut)
        play.expect_nothing()
    play.client(octets[-1:])
    play.expect_client(on(1, Basic.Nack(1, False, False)))
    play.client(octets[:-5], octets[-5:] + publish(1, "a.1", b"next"))
    play.expect_client(on(1, Basic.Nack(2, False, False)))
    play.expect_link("a", publish(1, "a.1", b"next"))


def test_nothing_is_rejected_before_select_ok(fresh: Opening) -> None:
    play = without_b(fresh)
    play.client(on(1, Confirm.Select()) + publish(1, "b.1", b"early"))
    play.expect_link("a", on(1, Confirm.Select()))
    play.link("a", on(1, Confirm.SelectOk()))
    play.expect_client(on(1, Confirm.SelectOk(), Basic.Nack(1, False, False)))


def test_nothing_is_rejected_on_a_channel_that_ended_meanwhile(fresh: Opening) -> None:
    play = without_b(fresh)
    confirm(play)
    octets = publish(1, "b.1", b"in two pieces")
    play.client(octets[:-3])
    play.link("a", channel_close(1, 406, "PRECONDITION_FAILED - no"))
    play.expect_client(channel_close(1, 406, "PRECONDITION_FAILED - no"))
    play.expect_link("a", on(1, Channel.CloseOk()))
    play.client(octets[-3:])
    play.client(on(1, Channel.CloseOk()))


@pytest.mark.parametrize("transaction", [False, True])
def test_without_confirms_the_channel_is_closed(transaction: bool, fresh: Opening) -> None:
    play = without_b(fresh)
    if transaction:
        transact(play)
    play.client(publish(1, "b.1", b"for b") + publish(1, "a.1", b"behind it"))
    play.expect_link("a", channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_client(channel_close(1, 404, NOT_ATTACHED, Basic.Publish))
    play.client(on(1, Channel.CloseOk()))
    play.open_channel(1)


def test_a_reply_to_key_of_it_is_not_sent_to_the_others(fresh: Opening) -> None:
    """RabbitMQ would close the connection for another broker's key."""
    play = without_b(fresh)
    key = "amq.rabbitmq.reply-to.g2dkABFyYWJiaXQ.secret"
    short = bytes((len(key),)) + key.encode()
    play.settings.reply_keys.note(short, "b")
    confirm(play)
    play.client(publish(1, key, b"answer", exchange=""))
    play.expect_client(on(1, Basic.Nack(1, False, False)))
    play.client(on(1, Queue.Declare(queue=key, passive=True)))
    play.expect_link("a", channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    play.link("a", on(1, Channel.CloseOk()))
    assert b"\x01\x94" in play.taken("client")[0]


def test_a_name_that_no_upstream_has_is_the_strategys_fault_as_before(fresh: Opening) -> None:
    play = without_b(fresh)
    play.client(on(1, Basic.Publish(exchange="x", routing_key="z.1")) + content(1, b""))
    (closing,) = play.taken("client")
    assert closing[7:11] == bytes((0, 10, 0, 50))
    play.skip()
    assert play.session.phase is Phase.CLOSING
