"""Acknowledgements in a fan session: to the link that delivered, under its own tag, and no further than meant.

Covered: ack, nack, reject, multiple over several links, with held and reordered deliveries; tags that are not there.
Not covered here: in transactions (test_fan_tx.py); random orders against a model (test_deliveries.py).
"""

from __future__ import annotations

import pytest
from pamqp import base

from tests.session.conftest import Opening
from tests.session.fans import ack, consume, nack, prefetch, reject
from tests.session.frames import Basic, Channel, channel_close, connection_close, deliver, on, publish, split
from tests.session.playbook import Playbook
from trabbits.log_ids import LogId
from trabbits.wire.encode import frame

CLOSE_OK = on(1, Channel.CloseOk())


def message(tag: int, octets: bytes = b"x", consumer: str = "c") -> bytes:
    """A delivery on channel 1."""
    return deliver(1, consumer, tag, octets)


def delivered(play: Playbook, names: str, tags: dict[str, int] | None = None) -> None:
    """A delivery from each of these links in turn, under the link's next tag."""
    tags = tags if tags is not None else {}
    for name in names:
        tags[name] = tags.get(name, 0) + 1
        play.link(name, message(tags[name]))
        play.skip_client()


@pytest.fixture
def play(opened: Opening) -> Playbook:
    """A consumer over two links."""
    play = opened("a", "b")
    consume(play)
    return play


def test_each_goes_to_the_link_that_delivered(play: Playbook) -> None:
    delivered(play, "abba")
    play.client(ack(3), ack(1), nack(4, requeue=False), reject(2))
    play.expect_link("a", ack(1), nack(2, requeue=False))
    play.expect_link("b", ack(2), reject(1))


def test_runs_of_acks_to_one_link(play: Playbook) -> None:
    """In a chunk, with a publish in between and acks cut anywhere."""
    delivered(play, "aabb")
    stream = ack(1) + ack(2) + publish(1, "a") + ack(3) + ack(4)
    sent: dict[str, list[bytes]] = {"a": [], "b": []}
    for at in range(0, len(stream), 10):
        play.client(stream[at : at + 10])
        for name in sent:
            sent[name] += play.taken(name)
    assert b"".join(sent["a"]) == ack(1) + ack(2) + publish(1, "a")
    assert b"".join(sent["b"]) == ack(1) + ack(2)


@pytest.mark.parametrize("requeue", [True, False])
def test_multiple_fans_out_up_to_the_right_tag(requeue: bool, play: Playbook) -> None:
    delivered(play, "aabbab")
    play.client(ack(3, multiple=True))
    play.expect_link("a", ack(2, multiple=True))
    play.expect_link("b", ack(1))
    play.client(nack(6, multiple=True, requeue=requeue))
    play.expect_link("a", nack(3, requeue=requeue))
    play.expect_link("b", nack(3, multiple=True, requeue=requeue))


def test_tag_0_means_all(play: Playbook) -> None:
    delivered(play, "abab")
    play.client(ack(2))
    play.expect_link("b", ack(1))
    play.client(ack(0, multiple=True))
    play.expect_link("a", ack(2, multiple=True))
    play.expect_link("b", ack(2))
    play.client(ack(0, multiple=True), nack(0, multiple=True))


def test_multiple_spares_what_is_held(opened: Opening) -> None:
    """A held delivery has a lower tag of its link than one the client has: no multiple may cover it."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play, "c")
    prefetch(play, 0)
    consume(play, "free")
    play.link("a", message(1))
    play.expect_client(message(1))
    play.link("a", message(2, b"held"), message(3, b"x", "free"), message(4, b"x", "free"))
    play.expect_client(message(2, b"x", "free"), message(3, b"x", "free"))
    play.client(ack(3, multiple=True))
    play.expect_link("a", ack(1), ack(3), ack(4))
    play.expect_client(message(4, b"held"))
    play.client(ack(4, multiple=True))
    play.expect_link("a", ack(2))


def test_multiple_spares_what_was_delivered_late(opened: Opening) -> None:
    """After a held delivery the order of the link's tags is not the client's any more."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play, "c")
    prefetch(play, 0)
    consume(play, "free")
    play.link("a", message(1), message(2, b"held"), message(3, b"x", "free"))
    play.expect_client(message(1), message(2, b"x", "free"))
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.expect_client(message(3, b"held"))
    play.link("a", message(4, b"x", "free"), message(5, b"x", "free"))
    play.expect_client(message(4, b"x", "free"), message(5, b"x", "free"))
    play.client(ack(2, multiple=True))
    play.expect_link("a", ack(3))
    play.client(ack(5, multiple=True))
    play.expect_link("a", ack(5, multiple=True))


def test_multiple_where_the_late_one_is_not_covered(opened: Opening) -> None:
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play, "c")
    prefetch(play, 0)
    consume(play, "free")
    play.link("a", message(1), message(2, b"held"), message(3, b"x", "free"), message(4, b"x", "free"))
    play.skip_client()
    play.client(ack(1))
    play.skip()
    play.client(ack(3, multiple=True))
    play.expect_link("a", ack(3), ack(4))
    play.client(ack(4))
    play.expect_link("a", ack(2))


UNKNOWN: list[tuple[bytes, type[base.Frame]]] = [
    (ack(3), Basic.Ack),
    (ack(3, multiple=True), Basic.Ack),
    (nack(3), Basic.Nack),
    (reject(3), Basic.Reject),
]


@pytest.mark.parametrize(("settled", "method"), UNKNOWN)
def test_an_unknown_tag_is_a_channel_error(settled: bytes, method: type[base.Frame], play: Playbook) -> None:
    """The very one of RabbitMQ, and the links requeue what the client has not settled."""
    delivered(play, "ab")
    play.client(settled, publish(1, "a", b"ignored"))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    play.link("a", message(2), CLOSE_OK)
    play.link("b", CLOSE_OK)
    play.expect_client(channel_close(1, 406, "PRECONDITION_FAILED - unknown delivery tag 3", method))
    play.client(CLOSE_OK)
    play.open_channel(1)


@pytest.mark.parametrize(
    "settled", [[ack(1), ack(1)], [ack(2), ack(2)], [ack(0)], [ack(2, multiple=True), ack(1)], [reject(1), nack(1)]]
)
def test_a_tag_that_is_settled_is_unknown(settled: list[bytes], play: Playbook) -> None:
    delivered(play, "aaa")
    play.client(*settled)
    play.taken("a")
    play.expect_link("b", channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    assert play.logged[-1][0] is LogId.CHANNEL_ERROR_SENT


def test_deliveries_that_need_no_settling_cannot_be_settled(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play, no_ack=True)
    delivered(play, "ab")
    play.client(ack(1))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    assert play.logged[-1][0] is LogId.CHANNEL_ERROR_SENT


@pytest.mark.parametrize("index", [0x3C0050, 0x3C0078, 0x3C005A])
@pytest.mark.parametrize("arguments", [b"", bytes(8), bytes(10)])
def test_a_malformed_acknowledgement_closes_the_connection(index: int, arguments: bytes, play: Playbook) -> None:
    delivered(play, "a")
    play.client(frame(1, 1, index.to_bytes(4, "big") + arguments))
    (close,) = play.taken("client")
    expected = f"expected 9 octets of arguments, got {len(arguments)}".encode()
    assert expected in close
    play.skip()


def test_an_acknowledgement_does_not_break_into_a_publish(play: Playbook) -> None:
    """A frame of ours for the link to which the client is publishing waits for the end of the message."""
    delivered(play, "a")
    frames = split(publish(1, "a", b"large"))
    play.client(*frames[:2])
    play.expect_link("a", *frames[:2])
    play.client(frames[2], ack(1, multiple=True))
    play.expect_link("a", frames[2], ack(1))


def test_acknowledgements_on_a_channel_that_is_not_open(play: Playbook) -> None:
    play.client(ack(1, channel=9))
    text = "CHANNEL_ERROR - expected 'channel.open', got basic.ack on channel 9 that is not open"
    play.expect_client(connection_close(504, text, Basic.Ack))
    play.skip()
