"""Messages that go to one upstream and are copied to others: nothing of a copy reaches the client.

The routing key says what the strategy decides: ``a+b`` is upstream a with a copy for b.
Covered: how copies travel, what may not be copied, what brokers say about copies, transactions, the end of channels.
Not covered: real brokers (``tests/contract/test_mirroring.py``), how the strategy `mirror` decides
(``tests/plugins/test_mirror.py``).
"""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import body, commands, frame, header
from zope.interface import implementer

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, confirm, nack, transact
from tests.session.frames import (
    Basic,
    Channel,
    Tx,
    channel_close,
    connection_close,
    content,
    on,
    publish,
    returned,
    split,
)
from tests.session.playbook import OWN_CHANNEL, Playbook
from tests.session.test_renaming import Prefixed
from trabbits.interfaces import Decision, IMessageRoutingStrategy, IMirroringStrategy, MessageProperties, Mirrored
from trabbits.log_ids import LogId
from trabbits.session import mirroring
from trabbits.session.settings import SessionSettings, UpstreamSettings

#: The channel of copies on each link.
COPIES = OWN_CHANNEL - 1
#: The highest that clients may use.
CHANNEL_MAX = COPIES - 1
#: The largest body that is copied.
LARGEST = 200

OPEN = on(COPIES, Channel.Open())
OPEN_OK = on(COPIES, Channel.OpenOk())


def decision(key: str) -> Decision:
    """What a routing key stands for."""
    upstream, *copies = key.partition(".")[0].split("+")
    name = upstream if upstream != "any" else None
    return Mirrored(name, copies, LARGEST) if copies else name


@implementer(IMirroringStrategy)
class Mirroring:
    """By exchange and key."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def route(self, exchange: str, routing_key: str) -> Decision:
        self.asked.append(routing_key)
        return decision(routing_key)


@implementer(IMessageRoutingStrategy, IMirroringStrategy)
class MirroringByHeader(Mirroring):
    """By a header, or by the key."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        return decision(properties.headers.get("to", routing_key))


@pytest.fixture(params=[Mirroring, MirroringByHeader])
def play(request: pytest.FixtureRequest, fresh: Opening) -> Playbook:
    """Three upstreams, c not required and absent; channels 1 and 2 are open, and so are the channels of copies."""
    return opened(fresh("a", "b", "c", routing=request.param(), optional="c"))


def opened(play: Playbook, **options: Any) -> Playbook:
    play.open(missing="c", channel_max=CHANNEL_MAX, **options)
    play.open_channel(1)
    play.open_channel(2)
    for copied, to in (("a+b", "b"), ("b+a", "a")):
        play.client(publish(1, copied))
        play.taken(copied[0])
        play.expect_link(to, OPEN, publish(COPIES, copied))
        play.link(to, OPEN_OK)
    return play


def counted(play: Playbook) -> dict[str, tuple[int, int]]:
    """Copies sent and dropped since `play` was opened."""
    assert play.session.mirroring is not None
    counts = play.session.mirroring.outcomes()
    return {name: (sent - (name != "c"), dropped) for name, (sent, dropped) in counts.items()}


# How copies travel


def test_a_copy_goes_to_the_other_upstream_on_a_channel_of_its_own(play: Playbook) -> None:
    play.client(publish(1, "a+b", b"one"), publish(2, "b", b"two"), publish(2, "b+a", b"three"))
    play.expect_link("a", publish(1, "a+b", b"one"), publish(COPIES, "b+a", b"three"))
    play.expect_link("b", publish(COPIES, "a+b", b"one"), publish(2, "b", b"two"), publish(2, "b+a", b"three"))
    assert counted(play) == {"a": (1, 0), "b": (1, 0), "c": (0, 0)}


def test_the_channel_of_copies_is_opened_with_the_first_of_them(fresh: Opening) -> None:
    play = fresh("a", "b", routing=Mirroring())
    play.open(channel_max=CHANNEL_MAX)
    play.open_channel(1)
    play.client(publish(1, "a+b", b"one"), publish(1, "a+b", b"two"))
    play.expect_link("a", publish(1, "a+b", b"one"), publish(1, "a+b", b"two"))
    play.expect_link("b", OPEN, publish(COPIES, "a+b", b"one"), publish(COPIES, "a+b", b"two"))


def test_one_is_never_copied_to_where_it_goes_anyway(play: Playbook) -> None:
    play.client(publish(1, "a+a"), publish(1, "any+a"), publish(1, "any+b+a+b", b"x"))
    play.expect_link("a", publish(1, "a+a"), publish(1, "any+a"), publish(1, "any+b+a+b", b"x"))
    play.expect_link("b", publish(COPIES, "any+b+a+b", b"x"))


@pytest.mark.parametrize("size", [1, 7, 8, 11, 19, 30, 64])
def test_a_message_in_pieces_is_copied_whole(play: Playbook, size: int) -> None:
    def message(channel: int, piece: int = 40) -> bytes:
        return on(channel, Basic.Publish(exchange="x", routing_key="a+b")) + content(channel, b"x" * 100, piece)

    octets = message(1) + publish(1, "a+b", b"y")
    for at in range(0, len(octets), size):
        play.session.client_received(octets[at : at + size])
    play.do(lambda: None)
    play.expect_link("a", message(1), publish(1, "a+b", b"y"))
    play.expect_link("b", message(COPIES), publish(COPIES, "a+b", b"y"))


def test_copies_of_interleaved_messages_do_not_mix(play: Playbook) -> None:
    first, second = split(publish(1, "a+b", b"one")), split(publish(2, "a+b", b"two"))
    mixed = [first[0], second[0], second[1], first[1], first[2], second[2]]
    for parts in (mixed, mixed[:3], mixed[3:]):
        play.client(*parts)
        play.taken("a")
        expected = [publish(COPIES, "a+b", b"one"), publish(COPIES, "a+b", b"two")] if mixed[-1] in parts else []
        play.expect_link("b", *expected)


def test_neither_mandatory_nor_immediate_is_copied(play: Playbook) -> None:
    message = publish(1, "a+b", b"x", mandatory=True, immediate=True)
    play.client(message, *split(message)[:2])
    play.expect_link("a", message, *split(message)[:2])
    play.expect_link("b", publish(COPIES, "a+b", b"x"))
    play.client(split(message)[2])
    play.expect_link("a", split(message)[2])
    play.expect_link("b", publish(COPIES, "a+b", b"x"))


def test_bodies_are_cut_to_the_frames_of_the_copies_upstream(fresh: Opening) -> None:
    play = opened(fresh("a", "b", "c", routing=Mirroring(), optional="c"), link_frame_max={"b": 60})
    play.client(publish(1, "a+b", b"x" * 120))
    play.expect_link("a", publish(1, "a+b", b"x" * 120))
    play.expect_link(
        "b", on(COPIES, Basic.Publish(exchange="x", routing_key="a+b")), content(COPIES, b"x" * 120, piece=52)
    )


def test_the_way_of_a_key_is_asked_for_once(fresh: Opening) -> None:
    routing = Mirroring()
    play = opened(fresh("a", "b", "c", routing=routing, optional="c"))
    for _ in range(3):
        play.client(publish(1, "a+b.x", b"1"), publish(2, "a+b.x", b"2"))
        play.skip()
    assert routing.asked.count("a+b.x") == 1
    assert counted(play)["b"] == (6, 0)


def test_publishes_are_counted_for_the_upstream_they_were_routed_to(play: Playbook) -> None:
    before = play.session.observation.publishes()
    play.client(publish(1, "a+b", b"1"), publish(1, "a+b", b"2"))
    play.skip()
    assert play.session.observation.publishes() == {"a": before["a"] + 2, "b": before["b"]}


# What the client hears


def test_only_the_authoritative_upstream_confirms(play: Playbook) -> None:
    confirm(play)
    play.client(publish(1, "a+b", b"1"), publish(1, "b", b"2"), publish(1, "a+b", b"3"))
    play.skip()
    play.link("b", ack(1))
    play.expect_client(ack(2))
    play.link("b", on(COPIES, Basic.Ack(7)))
    play.expect_nothing()
    play.link("a", ack(1))
    play.expect_client(ack(1))
    play.link("a", nack(2))
    play.expect_client(nack(3, requeue=False))


def test_only_the_authoritative_upstream_returns(play: Playbook) -> None:
    play.client(publish(1, "a+b", b"x", mandatory=True))
    play.skip()
    play.link("b", returned(COPIES, "a+b", b"x"))
    play.expect_nothing()
    play.link("a", returned(1, "a+b", b"x"))
    play.expect_client(returned(1, "a+b", b"x"))


def test_a_refused_copy_closes_no_channel_of_the_clients(play: Playbook) -> None:
    refused = channel_close(COPIES, 404, "NOT_FOUND - no exchange 'x' in vhost '/'", Basic.Publish)
    play.logged.clear()
    for _ in range(3):
        play.link("b", refused)
        play.expect_link("b", on(COPIES, Channel.CloseOk()))
        play.client(publish(1, "a+b", b"again"))
        play.expect_link("a", publish(1, "a+b", b"again"))
        play.expect_link("b", OPEN, publish(COPIES, "a+b", b"again"))
        play.link("b", OPEN_OK)
    play.expect_log(LogId.COPY_REFUSED)
    assert play.session.channel_count == 2


def test_an_upstream_that_stops_the_flow_of_copies(play: Playbook) -> None:
    for active in (False, True):
        play.link("b", on(COPIES, Channel.Flow(active)))
        play.expect_link("b", on(COPIES, Channel.FlowOk(active)))
        play.client(publish(1, "a+b", b"x"))
        play.expect_link("a", publish(1, "a+b", b"x"))
        play.expect_link("b", *([publish(COPIES, "a+b", b"x")] if active else []))
    assert counted(play)["b"] == (1, 1)


# What is not copied


def test_what_is_too_large_is_not_copied_and_logged_once(play: Playbook) -> None:
    play.logged.clear()
    large = publish(1, "a+b", b"x" * (LARGEST + 1))
    for chunks in ([large], split(large)):
        for chunk in chunks:
            play.client(chunk)
            play.taken("a")
    play.client(publish(1, "a+b", b"x" * LARGEST))
    play.expect_link("a", publish(1, "a+b", b"x" * LARGEST))
    play.expect_link("b", publish(COPIES, "a+b", b"x" * LARGEST))
    play.expect_log(LogId.COPY_DROPPED)
    assert counted(play)["b"] == (1, 2)


def with_properties(channel: int, key: str, octets: bytes = b"", **properties: Any) -> bytes:
    """A message."""
    head = frame.marshal(header.ContentHeader(0, len(octets), commands.Basic.Properties(**properties)), channel)
    method = on(channel, Basic.Publish(exchange="x", routing_key=key))
    return method + head + (frame.marshal(body.ContentBody(octets), channel) if octets else b"")


def test_properties_that_do_not_fit_the_frames_of_the_copies_upstream(fresh: Opening) -> None:
    play = opened(fresh("a", "b", "c", routing=Mirroring(), optional="c"), link_frame_max={"b": 60})
    message = with_properties(1, "a+b", headers={"long": "x" * 100})
    play.client(message)
    play.expect_link("a", message)
    assert counted(play)["b"] == (0, 1)


@pytest.mark.parametrize("octets", [b"", b"x"])
def test_requests_by_direct_reply_to_are_not_copied(play: Playbook, octets: bytes) -> None:
    """RabbitMQ closes the channel for one whose sender does not consume there."""
    message = with_properties(1, "a+b", octets, reply_to="amq.rabbitmq.reply-to")
    play.client(message)
    play.expect_link("a", message)
    assert counted(play)["b"] == (0, 1)


def test_an_upstream_that_is_not_attached_gets_no_copies(play: Playbook) -> None:
    play.logged.clear()
    for _ in range(2):
        play.client(publish(1, "a+c", b"1"), publish(1, "a+c+b", b"2"))
        play.expect_link("a", publish(1, "a+c", b"1"), publish(1, "a+c+b", b"2"))
        play.expect_link("b", publish(COPIES, "a+c+b", b"2"))
    play.expect_log(LogId.COPY_DROPPED)
    assert counted(play) == {"a": (0, 0), "b": (2, 0), "c": (0, 4)}


def test_what_the_authoritative_upstream_cannot_get_is_not_copied(play: Playbook) -> None:
    confirm(play)
    play.client(publish(1, "c+b", b"x"))
    play.expect_client(nack(1, requeue=False))
    assert counted(play)["b"] == (0, 0)


def keep(monkeypatch: pytest.MonkeyPatch, bodies: int, messages: int) -> None:
    """Let there be room for so many octets of bodies in so many messages, each in a frame of its own."""
    monkeypatch.setattr(mirroring, "FRAME_COST", 1)
    monkeypatch.setattr(mirroring, "KEPT_MAX", bodies + messages * (len(publish(1, "a+b", b"")) + 3))


def test_what_is_kept_for_copies_has_a_bound(play: Playbook, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, 150, messages=2)
    first, second = publish(1, "a+b", b"x" * 100), publish(2, "a+b", b"y" * 60)
    play.client(*split(first)[:-1], *split(second)[:-1])
    play.taken("a")
    play.client(split(second)[-1], split(first)[-1])
    play.taken("a")
    play.expect_link("b", publish(COPIES, "a+b", b"x" * 100))
    play.client(publish(2, "a+b", b"y" * 60), publish(1, "a+b", b"x" * 100))
    play.taken("a")
    play.expect_link("b", publish(COPIES, "a+b", b"y" * 60), publish(COPIES, "a+b", b"x" * 100))
    assert counted(play)["b"] == (3, 1)


def test_frames_count_for_the_bound_however_small(play: Playbook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body in too many pieces is given up once, with all that it counted for."""
    keep(monkeypatch, 100, messages=1)
    method, header, *bodies = split(on(1, Basic.Publish(exchange="x", routing_key="a+b")) + content(1, b"x" * 100, 2))
    for frames in ([method, header, *bodies[:25]], bodies[25:], split(publish(1, "a+b", b"y" * 100))):
        for part in frames:
            play.client(part)
            play.taken("a")
    play.expect_link("b", publish(COPIES, "a+b", b"y" * 100))
    assert counted(play)["b"] == (1, 1)


# Upstreams with other names for queues


def to_queue(channel: int, queue: str, octets: bytes = b"x", piece: int = 4096) -> bytes:
    return on(channel, Basic.Publish(exchange="", routing_key=queue)) + content(channel, octets, piece)


@pytest.mark.parametrize("routing", [Mirroring, MirroringByHeader])
@pytest.mark.parametrize("piece", [4096, 40])
def test_each_upstream_gets_its_own_name_of_the_queue(routing: Any, piece: int, fresh: Opening) -> None:
    """The authoritative one and the other, however often the way was taken before, and from either side."""
    rewriters = {"a": Prefixed("old."), "b": Prefixed("new.")}
    play = opened(fresh("a", "b", "c", routing=routing(), optional="c", rewriters=rewriters))
    for octets in (b"x" * 100, b"y" * 100):
        play.client(to_queue(1, "a+b.q", octets, piece))
        play.expect_link("a", to_queue(1, "old.a+b.q", octets, piece))
        play.expect_link("b", to_queue(COPIES, "new.a+b.q", octets, piece))
        play.client(to_queue(1, "b+a.q", octets, piece), publish(1, "a+b", octets))
        play.expect_link("b", to_queue(1, "new.b+a.q", octets, piece), publish(COPIES, "a+b", octets))
        play.expect_link("a", to_queue(COPIES, "old.b+a.q", octets, piece), publish(1, "a+b", octets))


class Failing(Prefixed):
    """Raises, with a text that may hold anything."""

    def renamed(self, queue: str) -> str:
        """See `IQueueRenamer`."""
        raise LookupError("hunter2")


@pytest.mark.parametrize(
    ("renamer", "key", "text", "logged"),
    [
        (Failing(), "a+b.q", "rewriter 'Failing' of upstream 'b' failed: it raised LookupError", 1),
        (Prefixed("x" * 250), "a+b.queue", "upstream 'b' renames queues, and its name for queue 'a+b.queue'", 0),
    ],
)
def test_a_copy_whose_queue_cannot_be_renamed_is_dropped(
    renamer: Prefixed, key: str, text: str, logged: int, fresh: Opening
) -> None:
    play = opened(fresh("a", "b", "c", routing=Mirroring(), optional="c", rewriters={"b": renamer}))
    play.client(to_queue(1, key), publish(1, "a+b", b"two"))
    play.expect_link("a", to_queue(1, key), publish(1, "a+b", b"two"))
    play.expect_link("b", publish(COPIES, "a+b", b"two"))
    assert counted(play)["b"] == (1, 1)
    ((_, fields),) = [each for each in play.logged if each[0] is LogId.COPY_DROPPED]
    assert fields["text"].startswith(text)
    assert [entry for entry, _ in play.logged].count(LogId.REWRITER_FAILED) == logged


# Transactions, and the end of channels


def test_a_transactions_copies_go_with_its_commit(play: Playbook) -> None:
    transact(play)
    for end in (Tx.Rollback(), Tx.Commit()):
        play.client(publish(1, "a+b", b"one"), publish(1, "a+b", b"two"))
        play.expect_link("a", publish(1, "a+b", b"one"), publish(1, "a+b", b"two"))
        play.client(publish(2, "a+b", b"other"))
        play.expect_link("a", publish(2, "a+b", b"other"))
        play.expect_link("b", publish(COPIES, "a+b", b"other"))
        play.client(on(1, end))
        play.expect_link("a", on(1, end))
        copies = [publish(COPIES, "a+b", b"one"), publish(COPIES, "a+b", b"two")] if isinstance(end, Tx.Commit) else []
        play.expect_link("b", *copies, on(1, end))
        answered(play, Tx.CommitOk() if copies else Tx.RollbackOk())


def test_what_transactions_keep_for_copies_has_a_bound(play: Playbook, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, 150, messages=2)
    transact(play)
    play.client(publish(1, "a+b", b"x" * 100))
    play.expect_link("a", publish(1, "a+b", b"x" * 100))
    asked(play, Tx.Rollback())
    answered(play, Tx.RollbackOk())
    for _ in range(2):
        for octets in (b"x" * 100, b"y" * 100, b"z" * 50):
            play.client(publish(1, "a+b", octets))
            play.taken("a")
        play.client(on(1, Tx.Commit()))
        play.taken("a")
        play.expect_link("b", publish(COPIES, "a+b", b"x" * 100), publish(COPIES, "a+b", b"z" * 50), on(1, Tx.Commit()))
        answered(play, Tx.CommitOk())
    assert counted(play)["b"] == (4, 2)


def test_empty_messages_of_a_transaction_count_for_the_bound(play: Playbook, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, 0, messages=2)
    transact(play)
    for _ in range(3):
        play.client(publish(1, "a+b", b""))
        play.taken("a")
    play.client(on(1, Tx.Commit()))
    play.taken("a")
    play.expect_link("b", publish(COPIES, "a+b", b""), publish(COPIES, "a+b", b""), on(1, Tx.Commit()))
    answered(play, Tx.CommitOk())
    assert counted(play)["b"] == (2, 1)


@pytest.mark.parametrize("transactional", [False, True])
def test_a_channel_that_ends_leaves_nothing(
    play: Playbook, transactional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that never became whole, and one without its commit, are not copied and not kept."""
    keep(monkeypatch, 100, messages=1)
    if transactional:
        transact(play)
    octets = publish(1, "a+b", b"x" * 100)
    play.client(*split(octets)[: 3 if transactional else 2])
    play.taken("a")
    play.link("a", channel_close(1, 404, "NOT_FOUND - no exchange 'x'", Basic.Publish))
    play.taken("a")
    play.taken("b")
    if not transactional:
        play.client(split(octets)[2])
        play.taken("a")
    play.link("b", on(1, Channel.CloseOk()))
    play.skip()
    play.client(on(1, Channel.CloseOk()))
    play.open_channel(1)
    for part in split(octets):
        play.client(part)
        play.taken("a")
    play.expect_link("b", publish(COPIES, "a+b", b"x" * 100))


def test_complete_copies_are_sent_when_the_client_closes(play: Playbook) -> None:
    whole, part = publish(1, "a+b", b"whole"), publish(2, "a+b", b"part")[:-9]
    play.client(whole, part, on(0, commands.Connection.Close(200, "bye", 0, 0)))
    play.expect_link("b", publish(COPIES, "a+b", b"whole"))
    play.skip()


# The handshake, and strategies that go wrong


def test_clients_are_never_offered_the_channel_of_copies(fresh: Opening) -> None:
    play = fresh("a", "b", routing=Mirroring())
    play.open(channel_max=CHANNEL_MAX)
    assert play.session.settings.offered_channel_max == play.session.channel_max == CHANNEL_MAX
    play.client(on(CHANNEL_MAX, Channel.Open()))
    play.skip()
    play.client(on(COPIES, Channel.Open()))
    assert play.session.ended_badly
    play.skip()


@pytest.mark.parametrize("upstreams", ["a", "ab"])
def test_without_mirroring_there_is_no_such_channel(opened: Opening, upstreams: str) -> None:
    """Nor with a single upstream, where nothing is routed."""
    play = opened(*upstreams, routing=Mirroring() if len(upstreams) == 1 else None)
    assert play.session.channel_max == OWN_CHANNEL - 1
    assert play.session.mirroring is None


def test_an_upstream_that_allows_fewer_channels(fresh: Opening) -> None:
    """Its topmost two are not the client's."""
    play = fresh("a", "b", routing=Mirroring())
    play.negotiate(channel_max=CHANNEL_MAX)
    play.link_opens("a")
    play.link_opens("b", own_channel=100)
    play.skip()
    assert play.session.channel_max == 98
    play.open_channel(98)
    play.client(publish(98, "a+b"))
    play.expect_link("a", publish(98, "a+b"))
    play.expect_link("b", on(99, Channel.Open()), publish(99, "a+b"))


def test_copies_for_several_upstreams(fresh: Opening) -> None:
    """Each on the channel that is free there."""
    play = fresh("a", "b", "c", routing=Mirroring())
    play.negotiate(channel_max=CHANNEL_MAX)
    for name, own_channel in (("a", OWN_CHANNEL), ("b", OWN_CHANNEL), ("c", 100)):
        play.link_opens(name, own_channel=own_channel)
    play.skip()
    play.open_channel(1)
    play.client(publish(1, "a+c+b", b"x"))
    play.expect_link("a", publish(1, "a+c+b", b"x"))
    play.expect_link("b", OPEN, publish(COPIES, "a+c+b", b"x"))
    play.expect_link("c", on(99, Channel.Open()), publish(99, "a+c+b", b"x"))


def test_a_client_is_offered_a_channel_in_any_case() -> None:
    """0 would mean that there is no limit."""
    upstreams = (UpstreamSettings("a"), UpstreamSettings("b"))
    assert SessionSettings(upstreams, Mirroring(), channel_max=2).offered_channel_max == 1


def test_an_upstream_with_very_few_channels_gets_no_copies(fresh: Opening) -> None:
    play = fresh("a", "b", routing=Mirroring())
    play.negotiate(channel_max=CHANNEL_MAX)
    play.link_opens("a")
    play.link_opens("b", own_channel=2)
    play.skip()
    assert play.session.channel_max == 1
    play.open_channel(1)
    play.client(publish(1, "a+b"))
    play.expect_link("a", publish(1, "a+b"))


NO_UPSTREAM = "which is no upstream of the configuration (a, b)"


class Undeclared:
    """Does not say that it mirrors."""

    def route(self, exchange: str, routing_key: str) -> Decision:
        return decision(routing_key)


@pytest.mark.parametrize(
    ("routing", "key", "problem"),
    [
        (Mirroring(), "a+x", f"it wants copies for 'x', {NO_UPSTREAM}"),
        (Mirroring(), "x+a", f"it answered with Mirrored for 'x', {NO_UPSTREAM}"),
        (MirroringByHeader(), "a+x", f"it wants copies for 'x', {NO_UPSTREAM}"),
        (
            Undeclared(),
            "a+b",
            "it answered with Mirrored, which is only for strategies that provide IMirroringStrategy",
        ),
    ],
)
def test_an_answer_that_cannot_be_followed(fresh: Opening, routing: Any, key: str, problem: str) -> None:
    play = fresh("a", "b", routing=routing)
    play.open(channel_max=CHANNEL_MAX)
    play.open_channel(1)
    play.client(publish(1, key))
    name = type(routing).__name__
    text = f"INTERNAL_ERROR - routing strategy '{name}' failed: {problem}"
    play.expect_client(connection_close(541, text, Basic.Publish))
    fields = {"plugin": name, "exchange": "x", "key": key, "text": problem}
    assert (LogId.ROUTING_FAILED, fields) in play.logged
    play.skip()
