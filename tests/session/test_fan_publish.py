"""Publishing in a fan session: where messages go, direct reply-to, what is returned.

Covered: routing and its cache, strategies that fail, contents in pieces, nodes with smaller frames, returns.
Not covered here: confirms (test_fan_confirms.py), transactions (test_fan_tx.py).
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, confirm, consume, transact
from tests.session.frames import (
    HEARTBEAT,
    Basic,
    Channel,
    Queue,
    Tx,
    channel_close,
    connection_close,
    content,
    decoded,
    deliver,
    on,
    publish,
    returned,
    split,
)
from tests.session.playbook import Playbook, Routes
from trabbits.log_ids import LogId
from trabbits.session import fan_message_routes, fan_publish
from trabbits.wire.encode import frame

REPLY = "amq.rabbitmq.reply-to."
#: A key as RabbitMQ makes them: a process of node rabbit@somewhere in external term format, and a random part.
PROCESS = b64encode(b"\x83Xw\x10rabbit@somewhere" + bytes(12)).decode()
KEY = f"{REPLY}{PROCESS}.Zm9vYmFy"


def routing_of(play: Playbook) -> Routes:
    assert isinstance(play.routing, Routes)
    return play.routing


def test_each_message_goes_to_its_link(opened: Opening) -> None:
    """No opinion means the first upstream."""
    play = opened("a", "b", "c")
    one, two, three, four = (publish(1, key, key.encode()) for key in ("b", "c.x", "none", "b"))
    play.client(one, two, three, four)
    play.expect_link("b", one, four)
    play.expect_link("c", two)
    play.expect_link("a", three)


def test_a_strategy_is_asked_once_per_exchange_and_key(opened: Opening) -> None:
    play = opened("a", "b")
    for _ in range(3):
        play.client(publish(1, "b.1"), publish(1, "b.2"), publish(1, "b.1", exchange="y"), publish(1, "b.1"))
        play.skip()
    assert routing_of(play).asked == [("x", "b.1"), ("x", "b.2"), ("y", "b.1")]


def test_mandatory_and_ticket_do_not_matter_for_the_route(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(publish(1, "b"), publish(1, "b", mandatory=True))
    play.skip()
    payload = split(publish(1, "b"))[0][7:-1]
    play.client(frame(1, 1, payload[:4] + b"\0\7" + payload[6:]) + content(1))
    play.skip()
    assert len(routing_of(play).asked) == 1


def test_the_cache_of_routes_has_a_bound(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_message_routes, "ROUTES_MAX", 10)
    play = opened("a", "b")
    for key in range(25):
        play.client(publish(1, f"b.{key}"))
        play.expect_link("b", publish(1, f"b.{key}"))
    play.client(publish(1, "b.0"))
    play.expect_link("b", publish(1, "b.0"))
    assert len(routing_of(play).asked) == 26


def test_names_may_be_any_octets(opened: Opening) -> None:
    """RabbitMQ asks for no UTF-8 here; a strategy sees lone surrogates."""
    play = opened("a", "b")
    octets = frame(1, 1, b"\0\x3c\0\x28\0\0\x02\xff\xfe\x03b.\xff\0") + content(1)
    play.client(octets)
    play.expect_link("b", octets)
    assert routing_of(play).asked == [("\udcff\udcfe", "b.\udcff")]


@pytest.mark.parametrize(
    ("key", "told", "logged"),
    [
        ("bad", "it raised LookupError", "LookupError: no such thing"),
        ("z", *["it answered with 'z', which is no upstream of the configuration (a, b)"] * 2),
    ],
)
def test_a_strategy_that_fails_closes_the_connection(key: str, told: str, logged: str, opened: Opening) -> None:
    """Whether it raises or names an upstream that is not there; log and client hear the configuration's name for it."""
    play = opened("a", "b", routing_plugin="by_word")
    play.client(publish(1, "b", b"sound"), publish(1, key, b"x"), publish(1, "b", b"too late"))
    play.expect_link("b", publish(1, "b", b"sound"))
    text = f"INTERNAL_ERROR - routing strategy 'by_word' failed: {told}"
    play.expect_client(connection_close(541, text, Basic.Publish))
    play.expect_actions(
        "CancelTimer handshake", "CancelTimer heartbeat", "CloseLink a", "CloseLink b", "SetTimer close 1"
    )
    fields = {"plugin": "by_word", "exchange": "x", "key": key, "text": logged}
    assert play.logged[0] == (LogId.ROUTING_FAILED, fields)
    play.expect_log(LogId.ROUTING_FAILED, LogId.CLIENT_CLOSED)


def test_a_malformed_publish_is_the_clients_fault(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(frame(1, 1, b"\0\x3c\0\x28\0\0\x01x\x01b"))
    (close,) = play.taken("client")
    method: Any = decoded(close)
    assert (method.reply_code, method.class_id, method.method_id) == (501, 60, 40)
    play.skip()


def test_messages_in_any_chunks(opened: Opening) -> None:
    """Octet by octet, with a heartbeat and another channel's message in between."""
    play = opened("a", "b")
    play.open_channel(2)
    one, two = split(publish(1, "a", b"one")), split(publish(2, "b", b"two"))
    stream = b"".join([one[0], two[0], HEARTBEAT, two[1], one[1], two[2], one[2]])
    sent: dict[str, list[bytes]] = {"a": [], "b": []}
    for at in range(len(stream)):
        play.client(stream[at : at + 1])
        for name in sent:
            sent[name] += play.taken(name)
    assert sent == {"a": one, "b": two}


def test_bodies_are_cut_for_the_link_that_needs_it(fresh: Opening) -> None:
    play = fresh("a", "b")
    play.open(link_frame_max={"b": 4096})
    play.open_channel(1)
    octets = bytes(range(256)) * 40
    play.client(publish(1, "a", octets), publish(1, "b", octets))
    play.expect_link("a", publish(1, "a", octets))
    play.expect_link("b", split(publish(1, "b"))[0], content(1, octets, 4088))


def test_a_violation_while_cutting_closes_the_connection(fresh: Opening) -> None:
    play = fresh("a", "b")
    play.open(link_frame_max={"b": 4096})
    play.open_channel(1)
    play.client(on(1, Queue.Declare(queue="q", arguments={"x": "y" * 5000})))
    play.taken("a")
    (close,) = play.taken("client")
    assert b"cannot be split" in close
    play.skip()


# Direct reply-to


def test_a_reply_goes_to_every_link_when_nobody_knows_whose_it_is(opened: Opening) -> None:
    play = opened("a", "b")
    octets = publish(1, KEY, b"reply", exchange="")
    play.client(octets, publish(1, "b"))
    play.expect_link("a", octets)
    play.expect_link("b", octets, publish(1, "b"))
    method, *rest = split(octets)
    play.client(method)
    play.expect_links(method)
    play.client(*rest)
    play.expect_links(*rest)
    assert routing_of(play).asked == [("x", "b")]


def test_a_reply_goes_to_the_upstream_whose_request_was_seen(opened: Opening) -> None:
    """Its key passed by in a delivery, to this client or another."""
    play = opened("a", "b")
    consume(play)
    request = deliver(1, "c", 1, b"reply to " + bytes([len(KEY)]) + KEY.encode() + b" please")
    for at in range(len(request)):
        play.link("b", request[at : at + 1])
        play.skip_client()
    play.client(publish(1, KEY, b"reply", exchange=""))
    play.expect_link("b", publish(1, KEY, b"reply", exchange=""))
    other = KEY.replace("Zm9vYmFy", "Zm9vYmF6")
    play.client(publish(1, other, b"the same node", exchange=""))
    play.expect_link("b", publish(1, other, b"the same node", exchange=""))


def test_another_exchange_has_no_reply_keys(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(publish(1, KEY, b"x"))
    play.expect_link("a", publish(1, KEY, b"x"))


def test_an_error_in_the_middle_of_a_reply_to_all(opened: Opening) -> None:
    """A close for either link waits for the end of the message."""
    play = opened("a", "b")
    frames = split(publish(1, KEY, b"reply", exchange=""))
    play.client(*frames[:2])
    play.skip()
    error = channel_close(1, 406, "PRECONDITION_FAILED - fast reply consumer exists")
    play.link("a", error)
    play.client(frames[2])
    play.expect_link("a", frames[2], on(1, Channel.CloseOk()))
    play.expect_link("b", frames[2], channel_close(1, 200, "CHANNEL_CLOSED - closed on another upstream"))
    play.link("b", on(1, Channel.CloseOk()))
    play.expect_client(error)
    play.client(on(1, Channel.CloseOk()))


# Returns


def test_a_return_passes_with_its_content(opened: Opening) -> None:
    play = opened("a", "b")
    play.link("b", returned(1, "b", b"nobody wants it"))
    play.expect_client(returned(1, "b", b"nobody wants it"))


def test_returns_of_two_links_do_not_mix(opened: Opening) -> None:
    play = opened("a", "b")
    one, two = split(returned(1, "a", b"one")), split(returned(1, "b", b"two"))
    play.link("a", *one[:2])
    play.expect_client(*one[:2])
    play.link("b", *two)
    play.link("a", one[2])
    play.expect_client(one[2], *two)


def test_a_reply_to_all_is_returned_when_all_return_it(opened: Opening) -> None:
    """One link cannot know it, the other may well have taken it."""
    play = opened("a", "b")
    for _ in range(2):
        play.client(publish(1, KEY, b"reply", exchange="", mandatory=True))
        play.skip()
        play.link("a", returned(1, KEY, b"reply", exchange=""))
        play.link("b", returned(1, KEY, b"reply", exchange=""))
        play.expect_client(returned(1, KEY, b"reply", exchange=""))
        play.client(publish(1, KEY, b"taken", exchange="", mandatory=True))
        play.skip()
        play.link("a", returned(1, KEY, b"taken", exchange=""))
        play.client(publish(1, KEY, b"taken", exchange="", mandatory=True))
        play.skip()
        play.link("a", returned(1, KEY, b"taken", exchange=""))


def test_other_returns_are_not_counted(opened: Opening) -> None:
    """Nor those of replies whose owner is known."""
    play = opened("a", "b")
    play.client(publish(1, KEY, b"reply", exchange="", mandatory=True))
    play.skip()
    for one in (returned(1, "b", b"x", exchange=""), returned(1, KEY, b"x")):
        play.link("a", one)
        play.expect_client(one)
    other = REPLY + "unknown"
    play.settings.reply_keys.note(bytes([len(other)]) + other.encode(), "a")
    play.client(publish(1, other, b"reply", exchange="", mandatory=True))
    play.expect_link("a", publish(1, other, b"reply", exchange="", mandatory=True))
    play.link("a", returned(1, other, b"reply", exchange=""))
    play.expect_client(returned(1, other, b"reply", exchange=""))


def test_counting_returns_has_a_bound(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten: both links' returns of it pass."""
    monkeypatch.setattr(fan_publish, "REPLY_KEYS_MAX", 2)
    play = opened("a", "b")
    keys = [f"{REPLY}key{number}" for number in range(3)]
    for key in keys:
        play.client(publish(1, key, exchange="", mandatory=True))
        play.skip()
    play.link("a", returned(1, keys[0], b"", exchange=""))
    play.expect_client(returned(1, keys[0], b"", exchange=""))
    play.link("a", returned(1, keys[1], b"", exchange=""))


def test_a_return_stands_before_its_confirm(opened: Opening) -> None:
    """In the middle of another link's delivery, too."""
    play = opened("a", "b")
    consume(play)
    confirm(play)
    play.client(publish(1, "b", b"x", mandatory=True))
    play.skip()
    delivery = split(deliver(1, "c", 1, b"large"))
    play.link("a", *delivery[:2])
    play.skip()
    play.link("b", returned(1, "b", b"x"), ack(1))
    play.link("a", delivery[2])
    play.expect_client(delivery[2], returned(1, "b", b"x"), ack(1))


def test_a_reply_to_all_takes_part_in_a_transaction_everywhere(opened: Opening) -> None:
    play = opened("a", "b", tx_best_effort=True)
    transact(play)
    play.client(publish(1, KEY, b"reply", exchange=""))
    play.skip()
    asked(play, Tx.Commit())
    answered(play, Tx.CommitOk())
