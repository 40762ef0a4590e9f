"""An upstream that calls queues differently: the headers of messages that name queues, up and down, plain and fan.

Covered: CC and BCC, the headers of dead letters, octets that come in pieces, messages that are refused,
headers that do not fit.
Not covered: which parts of headers are meant (tests/wire/test_queue_headers.py), what fan sessions do besides
(test_renamed_headers_fan.py), names in methods (test_renaming_plain.py), random schedules (tests/simulation).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.session.conftest import Opening
from tests.session.frames import Basic, Channel, channel_close, decoded, on, split
from tests.session.headed import LONG, Headers, Routes, consuming, death, delivered, in_pieces, message, publish
from tests.session.playbook import Playbook
from tests.session.test_renaming import Prefixed
from trabbits.log_ids import LogId

#: Exchange, the client's headers, and the upstream's.
UP: list[tuple[str, Headers | None, Headers | None]] = [
    ("", {"CC": ["r", "s"], "BCC": ["t"]}, {"CC": ["new.r", "new.s"], "BCC": ["new.t"]}),
    ("x", {"CC": ["r", "s"], "BCC": ["t"]}, {"CC": ["r", "s"], "BCC": ["t"]}),
    ("", death(""), death("new.")),
    ("x", death(""), death("new.")),
    ("x", death("", "x"), death("new.", "x")),
    ("x", {"CC": ["r"], **death("")}, {"CC": ["r"], **death("new.")}),
    ("", {"CC": ["r"], **death("")}, {"CC": ["new.r"], **death("new.")}),
    ("", {"CC": "r", "x-death": "q"}, {"CC": "r", "x-death": "q"}),
    ("", {"CC": ["amq.rabbitmq.reply-to.a.b", ""]}, {"CC": ["amq.rabbitmq.reply-to.a.b", ""]}),
    ("", None, None),
    ("x", {"mine": "r"}, {"mine": "r"}),
]
#: The same for what comes down; BCC does not.
DOWN = [(exchange, theirs, ours) for exchange, ours, theirs in UP if ours is None or "BCC" not in ours]
DOWN += [("", {"CC": ["new.r", "s"]}, {"CC": ["r", "s"]}), ("x", {"CC": ["new.r"]}, {"CC": ["new.r"]})]


def up_key(exchange: str) -> str:
    return "q" if exchange else "new.q"


@pytest.fixture(params=["a", "ab"])
def play(request: pytest.FixtureRequest, opened: Opening) -> Playbook:
    """A plain session, and a fan session in which the other upstream has the client's names."""
    return opened(*request.param, rewriters={"a": Prefixed()}, routing=Routes())


# Up


@pytest.mark.parametrize(("exchange", "sent", "got"), UP)
@pytest.mark.parametrize("octets", [b"body", b""])
def test_the_upstream_gets_its_names(exchange: str, sent: Headers, got: Headers, octets: bytes, play: Playbook) -> None:
    """In order with what stands before and behind."""
    other = publish("k", {"some": "thing"}, b"2", exchange="x")
    play.client(other, publish("q", sent, octets, exchange), other, publish("q", sent, octets, exchange))
    wanted = publish(up_key(exchange), got, octets, exchange)
    play.expect_link("a", other, wanted, other, wanted)


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize(("exchange", "sent", "got"), UP[:5])
def test_however_a_message_is_cut(names: str, exchange: str, sent: Headers, got: Headers, opened: Opening) -> None:
    play = opened(*names, rewriters={"a": Prefixed()}, routing=Routes())
    sent_octets, got_octets = publish("q", sent, exchange=exchange), publish(up_key(exchange), got, exchange=exchange)
    for at in range(1, len(sent_octets)):
        play.session.client_received(sent_octets[:at])
        play.session.client_received(sent_octets[at:])
        play.do(lambda: None)
        play.expect_link("a", got_octets)
    in_pieces(play.session.client_received, sent_octets * 3, 1)
    play.do(lambda: None)
    play.expect_link("a", got_octets * 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_messages_of_several_channels_however_they_mix(data: st.DataObject, opened: Opening) -> None:
    """Each is whole and in order on its channel, with its upstream's names."""
    play = opened(*data.draw(st.sampled_from(["a", "ab"])), rewriters={"a": Prefixed()}, routing=Routes())
    play.open_channel(2)
    play.skip()
    waiting: dict[int, list[bytes]] = {1: [], 2: []}
    wanted: dict[int, bytes] = {1: b"", 2: b""}
    cases = st.lists(st.sampled_from([*UP, ("x", None, None)]), max_size=4)
    for channel in (1, 2):
        for exchange, sent, got in data.draw(cases):
            waiting[channel] += split(publish("q", sent, exchange=exchange, channel=channel))
            wanted[channel] += publish(up_key(exchange), got, exchange=exchange, channel=channel)
    stream = b""
    while any(waiting.values()):
        channel = data.draw(st.sampled_from([each for each in waiting if waiting[each]]))
        stream += waiting[channel].pop(0)
    in_pieces(play.session.client_received, stream, data.draw(st.integers(1, 200)))
    play.do(lambda: None)
    frames = play.taken("a")
    for channel, octets in wanted.items():
        assert b"".join(each for each in frames if each[2] == channel) == octets


def test_what_cannot_be_read_is_left_to_the_broker(play: Playbook) -> None:
    good = publish("amq.q", {"CC": ["r"], **death("")})
    octets = good.replace(b"x-first-death-queueS", b"x-first-death-queueZ")
    play.client(octets)
    play.expect_link("a", octets)


def test_onlookers_see_each_publish_once(play: Playbook) -> None:
    play.client(publish("q", {"CC": ["r"]}), publish("k", death(""), exchange="x"), publish("k", None, exchange="x"))
    play.skip()
    assert play.session.observation.publishes() == {"a": 3}
    assert play.session.observation.methods()[Basic.Publish.index] == 3


@pytest.mark.parametrize("name", ["CC", "BCC"])
@pytest.mark.parametrize("cut", [None, 20])
def test_a_key_that_the_upstream_cannot_have_closes_the_channel(name: str, cut: int | None, play: Playbook) -> None:
    """Nothing of the message reaches it, and nothing of what follows on the channel."""
    play.open_channel(2)
    octets = publish("q", {name: ["r", LONG]})
    in_pieces(play.session.client_received, octets, cut or len(octets))
    play.client(publish("k", None, exchange="x"), publish("k", None, exchange="x", channel=2))
    goodbye = channel_close(1, 200, "CHANNEL_CLOSED - error of the client")
    play.expect_link("a", goodbye, publish("k", None, exchange="x", channel=2))
    play.skip()
    play.all_links(on(1, Channel.CloseOk()))
    (raw,) = play.taken("client")
    close = decoded(raw)
    assert isinstance(close, Channel.Close)
    assert close.reply_code == 406
    assert close.reply_text.startswith("PRECONDITION_FAILED - upstream 'a' renames queues, and its name for queue 'nnn")
    assert raw[-5:-1] == Basic.Publish.index.to_bytes(4, "big")
    play.client(on(1, Channel.CloseOk()))
    play.open_channel(1)


def test_such_a_name_among_deaths_stays(play: Playbook) -> None:
    headers = death("")
    headers["x-death"].insert(0, {"queue": LONG, "exchange": "x"})
    wanted = death("new.")
    wanted["x-death"].insert(0, {"queue": LONG, "exchange": "x"})
    play.client(publish("q", headers))
    play.expect_link("a", publish("new.q", wanted))


def fitting(octets: bytes) -> int:
    """The frame_max that the content header of a message needs."""
    return len(split(octets)[1])


#: Fills a content header beyond the least frame_max that there is.
PADDING = {"padding": "x" * 5000}


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize("more", [0, 1000])
def test_names_that_do_not_fit_are_left_where_they_are_no_addresses(names: str, more: int, fresh: Opening) -> None:
    """The client's frames may be as large as the upstream's, or larger."""
    wanted = publish("new.q", {**PADDING, "CC": ["new.r"], **death("")})
    most = fitting(wanted)
    play = fresh(*names, rewriters={"a": Prefixed()}, routing=Routes())
    play.open(link_frame_max=dict.fromkeys(names, most), frame_max=most + more)
    play.open_channel(1)
    play.client(publish("q", {**PADDING, "CC": ["r"], **death("")}))
    play.expect_link("a", wanted)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_keys_that_do_not_fit_close_the_channel(names: str, fresh: Opening) -> None:
    headers = {**PADDING, "CC": ["r"]}
    most = fitting(publish("q", headers)) + 3
    play = fresh(*names, rewriters={"a": Prefixed()}, routing=Routes())
    play.open(frame_max=most)
    play.open_channel(1)
    play.client(publish("q", headers))
    play.skip()
    play.all_links(on(1, Channel.CloseOk()))
    (raw,) = play.taken("client")
    close = decoded(raw)
    assert isinstance(close, Channel.Close)
    text = f"upstream 'a' renames queues, and CC and BCC in a content header of {most + 1} octets do not fit it"
    assert (close.reply_code, close.reply_text) == (406, f"PRECONDITION_FAILED - {text}")
    play.skip()


class Broken(Prefixed):
    """Raises for one name."""

    def renamed(self, queue: str) -> str:
        """See `IQueueRenamer`."""
        if queue == "r":
            raise LookupError
        return super().renamed(queue)


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize("headers", [{"CC": ["r"]}, {"x-first-death-queue": "r"}])
def test_a_renamer_that_raises_ends_the_session(names: str, headers: Headers, opened: Opening) -> None:
    play = opened(*names, rewriters={"a": Broken()}, routing=Routes())
    play.client(publish("q", headers), publish("k", None, exchange="x"))
    assert play.taken("a") == []
    assert b"rewriter 'Broken' of upstream 'a' failed: it raised LookupError" in b"".join(play.taken("client"))
    play.expect_log(LogId.REWRITER_FAILED, LogId.CLIENT_CLOSED)
    play.skip()


# Down


@pytest.mark.parametrize(("exchange", "sent", "got"), DOWN)
@pytest.mark.parametrize("octets", [b"body", b""])
def test_the_client_gets_its_names(exchange: str, sent: Headers, got: Headers, octets: bytes, play: Playbook) -> None:
    """In deliveries and returns; in order."""
    consuming(play)
    back = message(Basic.Return(312, "NO_ROUTE", exchange, up_key(exchange)), sent, octets)
    theirs = delivered(1, up_key(exchange), sent, octets, exchange)
    other = delivered(2, "k", {"some": "thing"}, exchange="x"), delivered(3, up_key(exchange), sent, octets, exchange)
    play.link("a", theirs, other[0], back, other[1])
    play.expect_client(
        delivered(1, "q", got, octets, exchange),
        other[0],
        message(Basic.Return(312, "NO_ROUTE", exchange, "q"), got, octets),
        delivered(3, "q", got, octets, exchange),
    )


@pytest.mark.parametrize(("exchange", "sent", "got"), DOWN)
def test_a_get_gives_the_clients_names(exchange: str, sent: Headers, got: Headers, play: Playbook) -> None:
    play.client(on(1, Basic.Get(queue="amq.q")))
    play.skip()
    if len(play.links) > 1:
        play.do(lambda: play.session.messages_counted(1, 0))
        play.skip()
    play.link("a", message(Basic.GetOk(1, False, exchange, up_key(exchange), 5), sent))
    play.expect_client(message(Basic.GetOk(1, False, exchange, "q", 5), got))


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize(("exchange", "sent", "got"), DOWN[:4])
def test_however_a_delivery_is_cut(names: str, exchange: str, sent: Headers, got: Headers, opened: Opening) -> None:
    play = opened(*names, rewriters={"a": Prefixed()}, routing=Routes())
    consuming(play)
    link = play.links["a"]
    octets = delivered(1, up_key(exchange), sent, exchange=exchange)
    for at in range(1, len(octets)):
        octets = delivered(at, up_key(exchange), sent, exchange=exchange)
        play.session.link_received(link, octets[:at])
        play.session.link_received(link, octets[at:])
        play.do(lambda: None)
        play.expect_client(delivered(at, "q", got, exchange=exchange))
    first = at + 1
    octets = b"".join(delivered(first + n, up_key(exchange), sent, exchange=exchange) for n in range(3))
    in_pieces(lambda piece: play.session.link_received(link, piece), octets, 1)
    play.do(lambda: None)
    play.expect_client(*(delivered(first + n, "q", got, exchange=exchange) for n in range(3)))


def test_a_renamer_that_raises_on_the_way_down_ends_the_session(play: Playbook) -> None:
    names: Any = play.links["a"].names
    names._renamer.original = names._undo = lambda queue: 1 // 0
    consuming(play)
    play.link("a", delivered(1, "k", death("new."), exchange="x"))
    assert play.session.phase.name == "CLOSING"
    play.skip()


def test_headers_that_become_too_large_for_the_client_stay_and_the_log_says_so_once(fresh: Opening) -> None:
    """A client's names may be longer than its upstream's."""

    class Shortening(Prefixed):
        def renamed(self, queue: str) -> str:
            return queue.removeprefix("old.")

        def original(self, queue: str) -> str:
            return "old." + queue

    headers = {**PADDING, **death("")}
    octets = delivered(1, "k", headers, exchange="x")
    play = fresh("a", rewriters={"a": Shortening()})
    play.open(frame_max=fitting(octets) + 7)
    play.open_channel(1)
    play.client(on(1, Basic.Consume(queue="amq.q", consumer_tag="c")))
    play.skip()
    play.link("a", on(1, Basic.ConsumeOk("c")))
    play.skip()
    for _ in range(2):
        play.link("a", octets, delivered(2, "k", death(""), exchange="x"))
        play.expect_client(octets, delivered(2, "k", death("old."), exchange="x"))
    play.expect_log(LogId.HEADERS_NOT_RENAMED)
