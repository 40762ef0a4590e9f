"""What onlookers see: the last methods with their directions, and numbers, without secrets and without bodies."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pamqp import commands

from tests.session.conftest import Opening
from tests.session.fans import ack, confirm, consume, prefetch
from tests.session.frames import Basic, Confirm, Queue, channel_close, deliver, get_ok, on, publish
from tests.session.playbook import Playbook
from trabbits.session.observation import KEPT, MethodEvent
from trabbits.wire import constants as amqp


class Carefree(Playbook):
    """A playbook that leaves to others what exactly is sent."""

    def expect_nothing(self) -> None:
        self.skip()


@pytest.fixture
def opened() -> Opening:
    """Open sessions, with channel 1 open on every link."""

    def new(*upstreams: str, **options: Any) -> Playbook:
        play = Carefree(*upstreams, **options)
        play.open()
        play.open_channel(1)
        return play

    return new


def lines(play: Playbook, *, since: str = "Channel.OpenOk") -> list[str]:
    """The events behind the last one of this method: direction, upstream, channel, method."""
    events = play.session.observation.events()
    last = max(at for at, event in enumerate(events) if event.method == since)
    return [line(event) for event in events[last + 1 :]]


def line(event: MethodEvent) -> str:
    return " ".join(part for part in (event.direction, event.upstream, event.method) if part)


def test_a_method_that_passes_is_seen_on_both_sides(opened: Opening) -> None:
    play = opened("a")
    play.client(publish(1, "key", b"the body"), publish(1, "other", b""))
    play.link("a", deliver(1, "c", 1, b"the body"))
    assert lines(play) == [
        "c→t Basic.Publish",
        "t→u a Basic.Publish",
        "c→t Basic.Publish",
        "t→u a Basic.Publish",
        "u→t a Basic.Deliver",
        "t→c Basic.Deliver",
    ]
    event = play.session.observation.events()[-6]
    assert event.channel == 1
    assert event.arguments == {"exchange": "x", "routing_key": "key", "mandatory": False, "immediate": False}


def test_methods_of_one_chunk_are_seen_in_their_order(opened: Opening) -> None:
    play = opened("a")
    play.client(publish(1, "k"), on(1, Queue.Declare(queue="q")), publish(1, "k"))
    assert [each for each in lines(play) if each.startswith("c")] == [
        "c→t Basic.Publish",
        "c→t Queue.Declare",
        "c→t Basic.Publish",
    ]


def test_requests_and_replies_are_seen_in_their_order(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(on(1, Queue.Declare(queue="q")))
    play.link("b", on(1, Queue.DeclareOk("q", 1, 2)))
    play.link("a", on(1, Queue.DeclareOk("q", 3, 4)))
    assert lines(play) == [
        "c→t Queue.Declare",
        "t→u a Queue.Declare",
        "t→u b Queue.Declare",
        "u→t b Queue.DeclareOk",
        "u→t a Queue.DeclareOk",
        "t→c Queue.DeclareOk",
    ]
    assert play.session.observation.events()[-1].arguments["message_count"] == 4


def test_patched_tags_are_shown_as_each_side_has_them(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.link("a", deliver(1, "c", 1, b"one"))
    play.link("b", deliver(1, "c", 1, b"two"))
    play.client(ack(2))
    shown = [
        (line(event), event.arguments["delivery_tag"])
        for event in play.session.observation.events()
        if "delivery_tag" in event.arguments
    ]
    assert shown == [
        ("u→t a Basic.Deliver", 1),
        ("t→c Basic.Deliver", 1),
        ("u→t b Basic.Deliver", 1),
        ("t→c Basic.Deliver", 2),
        ("c→t Basic.Ack", 2),
        ("t→u b Basic.Ack", 1),
    ]


def test_a_delivery_that_waits_is_seen_leaving_when_it_leaves(opened: Opening) -> None:
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play)
    play.link("a", deliver(1, "c", 1, b"one"))
    play.link("b", deliver(1, "c", 1, b"two"))
    assert lines(play, since="Basic.ConsumeOk") == [
        "u→t a Basic.Deliver",
        "t→c Basic.Deliver",
        "u→t b Basic.Deliver",
    ]
    assert play.session.observation.methods()[amqp.BASIC_DELIVER] == 1
    play.client(ack(1))
    # The client's ack lets it go, and both are seen in the same moment.
    assert lines(play, since="Basic.ConsumeOk")[3:] == ["t→c Basic.Deliver", "c→t Basic.Ack", "t→u a Basic.Ack"]
    assert play.session.observation.methods()[amqp.BASIC_DELIVER] == 2
    assert play.session.observation.deliveries() == {"a": 1, "b": 1}


def test_publishes_are_counted_by_the_upstream_they_go_to(opened: Opening) -> None:
    play = opened("a", "b")
    for key in ("a.1", "b.1", "a.1", "a.2", "b.1", "a.1"):
        play.client(publish(1, key, b"body"))
    assert play.session.observation.publishes() == {"a": 4, "b": 2}
    assert play.session.observation.methods()[amqp.BASIC_PUBLISH] == 6


def test_secrets_are_not_kept(opened: Opening) -> None:
    play = opened("a")
    play.client(on(0, commands.Connection.UpdateSecret("the new secret", "because")))
    events = play.session.observation.events()
    hidden = [event.method for event in events if event.arguments == {"hidden": "holds credentials"}]
    assert hidden == ["Connection.StartOk", "Connection.UpdateSecret"]
    kept = b"".join(entry[2] for entry in play.session.observation._recent)
    assert b"guest" not in kept
    assert b"the new secret" not in kept


def test_secrets_are_not_kept_either_with_what_came_in_the_same_chunk(opened: Opening) -> None:
    play = opened("a")
    update = on(0, commands.Connection.UpdateSecret("the new secret", "because"))
    octets = publish(1, "k") + update + publish(1, "k") * 2
    # Cut in the middle of the secret, too.
    for cut in (0, octets.index(b"new")):
        for chunk in (octets[:cut], octets[cut:]):
            play.session.client_received(chunk)
        kept = b"".join(entry[2] for entry in play.session.observation._recent)
        assert b"the new" not in kept
        assert b"new secret" not in kept
        assert b"secret\x07because" not in kept
    play.skip()
    assert play.session.observation.methods()[amqp.BASIC_PUBLISH] == 6
    play.client(publish(1, "k"))
    assert lines(play)[-1] == "t→u a Basic.Publish"


def test_huge_methods_are_not_kept(opened: Opening) -> None:
    play = opened("a")
    for size in (100, 1000, 10_000):
        for _ in range(KEPT):
            play.client(on(1, Queue.Declare(queue="q", arguments={"x": "y" * size})))
        assert sum(len(entry[2]) for entry in play.session.observation._recent) < 150_000
    assert "omitted" in play.session.observation.events()[-1].arguments
    for _ in range(KEPT):
        play.client(on(1, Queue.Declare(queue="q", arguments={"x": "y" * 3000})))
    assert "arguments" in play.session.observation.events()[-1].arguments
    play.session.observation.condense()
    assert "omitted" in play.session.observation.events()[-1].arguments
    assert sum(len(entry[2]) for entry in play.session.observation._recent) < 10_000


def test_the_last_methods_are_kept_and_bodies_of_large_messages_are_not(opened: Opening) -> None:
    play = opened("a")
    for number in range(300):
        play.client(publish(1, f"key-{number}", bytes(20_000)))
    events = play.session.observation.events()
    assert len(events) == KEPT
    assert events[-1].arguments["routing_key"] == "key-299"
    assert sum(len(entry[2]) for entry in play.session.observation._recent) < 100_000


def test_a_chunk_of_many_methods_keeps_the_last(opened: Opening) -> None:
    play = opened("a")
    play.client(*(publish(1, f"key-{number}", bytes(number)) for number in range(1000)))
    keys = [event.arguments["routing_key"] for event in play.session.observation.events()]
    assert keys == [f"key-{number}" for number in range(950, 1000) for _ in range(2)]
    assert play.session.observation.methods()[amqp.BASIC_PUBLISH] == 1000


def test_watchers_hear_what_happens_from_now_on(opened: Opening) -> None:
    play = opened("a")
    heard: list[str] = []
    stop = play.session.observation.watch(lambda events: heard.extend(line(event) for event in events))
    play.client(publish(1, "key", b"x"))
    stop()
    play.client(publish(1, "key", b"x"))
    stop()
    assert heard == ["c→t Basic.Publish", "t→u a Basic.Publish"]


def test_what_was_put_back_is_counted_once(opened: Opening) -> None:
    play = opened("a", "b")
    heard: list[str] = []
    play.session.observation.watch(lambda events: heard.extend(line(event) for event in events))
    play.client(on(1, Basic.Get(queue="q")), on(1, Queue.Declare(queue="q")))
    play.session.messages_counted(0, 0)
    play.link("a", on(1, Basic.GetEmpty()))
    play.link("b", on(1, Basic.GetEmpty()))
    assert play.session.observation.methods()[amqp.QUEUE_DECLARE] == 1
    assert lines(play).count("c→t Queue.Declare") == 1
    assert heard.count("c→t Queue.Declare") == 1


def test_a_method_that_fails_is_told_with_its_consequences(opened: Opening) -> None:
    play = opened("a")
    heard: list[str] = []
    play.session.observation.watch(lambda events: heard.extend(line(event) for event in events))
    play.client(on(2, Queue.Declare(queue="q")))
    play.client(on(0, commands.Connection.CloseOk()))
    assert heard == ["c→t Queue.Declare", "t→c Connection.Close", "c→t Connection.CloseOk"]


def test_methods_that_failed_are_counted(opened: Opening) -> None:
    play = opened("a")
    play.client(on(1, Queue.Declare(queue="q", passive=True)))
    play.link("a", channel_close(1, 404, "NOT_FOUND", Queue.Declare))
    assert play.session.observation.errored == {amqp.QUEUE_DECLARE: 1}


def test_frames_are_counted_as_the_client_sees_them(opened: Opening) -> None:
    play = opened("a")
    received, sent = play.session.received_frames, play.session.sent_frames
    play.client(publish(1, "key", b"x"), on(1, Basic.Qos(prefetch_count=1)))
    play.link("a", on(1, Basic.QosOk()), deliver(1, "c", 1, b"x"), deliver(1, "c", 2, b""))
    assert play.session.received_frames - received == 4
    assert play.session.sent_frames - sent == 1 + 3 + 2


def test_condensing_changes_nothing_that_is_shown(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.client(publish(1, "a.1", b"x"), publish(1, "b.1", b"y"), publish(1, "a.1", b"z"))
    play.link("b", deliver(1, "c", 1, b"one"), deliver(1, "c", 2, b"two"))
    before = play.session.observation.events()
    play.session.observation.condense()
    assert play.session.observation.events() == before
    assert not any(isinstance(mark[3], list) for entry in play.session.observation._recent for mark in entry[4])


class TestUnderWay:
    """What is not settled, in plain sessions, where nothing else keeps account of it."""

    @pytest.fixture
    def play(self, opened: Opening) -> Playbook:
        return opened("a")

    def unacknowledged(self, play: Playbook) -> int:
        return play.session.unacknowledged(play.links["a"])

    def consume(self, play: Playbook, tag: str, *, no_ack: bool = False) -> None:
        play.client(on(1, Basic.Consume(queue="q", consumer_tag=tag, no_ack=no_ack)))
        play.link("a", on(1, Basic.ConsumeOk(tag)))

    def deliver(self, play: Playbook, tag: str, *numbers: int) -> None:
        play.link("a", *(deliver(1, tag, number, b"x") for number in numbers))

    def test_deliveries(self, play: Playbook) -> None:
        self.consume(play, "c")
        self.deliver(play, "c", 1, 2, 3, 4, 5)
        assert self.unacknowledged(play) == 5
        play.client(ack(4))
        assert self.unacknowledged(play) == 4
        play.client(ack(3, True))
        assert self.unacknowledged(play) == 1
        play.client(on(1, Basic.Reject(5)))
        assert self.unacknowledged(play) == 0

    def test_deliveries_that_nobody_acknowledges(self, play: Playbook) -> None:
        self.consume(play, "c", no_ack=True)
        self.deliver(play, "c", 1, 2, 3)
        assert self.unacknowledged(play) == 0

    def test_both_kinds_on_one_channel(self, play: Playbook) -> None:
        self.consume(play, "n", no_ack=True)
        self.deliver(play, "n", 1, 2, 3)
        self.consume(play, "c")
        self.deliver(play, "c", 4)
        self.deliver(play, "n", 5, 6)
        assert self.unacknowledged(play) == 1
        play.client(ack(4))
        assert self.unacknowledged(play) == 0
        assert play.session.consumer_count == 2
        play.client(on(1, Basic.Cancel("n")))
        play.link("a", on(1, Basic.CancelOk("n")))
        assert play.session.consumer_count == 1

    def test_gets(self, play: Playbook) -> None:
        play.client(on(1, Basic.Get(queue="q"), Basic.Get(queue="q", no_ack=True), Basic.Get(queue="q")))
        play.link("a", get_ok(1, 1, b"x", 0), get_ok(1, 2, b"x", 0), on(1, Basic.GetEmpty()))
        assert self.unacknowledged(play) == 1

    def test_recovered_ones(self, play: Playbook) -> None:
        self.consume(play, "c")
        self.deliver(play, "c", 1, 2)
        play.client(on(1, Basic.Recover(requeue=True)))
        play.link("a", on(1, Basic.RecoverOk()))
        self.deliver(play, "c", 3)
        assert self.unacknowledged(play) == 1

    def test_publishes_in_confirm_mode(self, play: Playbook) -> None:
        play.client(publish(1, "k"))
        play.client(on(1, Confirm.Select()))
        play.link("a", on(1, Confirm.SelectOk()))
        play.client(publish(1, "k"), publish(1, "k"), publish(1, "k"))
        assert play.session.unconfirmed(play.links["a"]) == 3
        play.link("a", ack(2, True))
        assert play.session.unconfirmed(play.links["a"]) == 1

    def test_over_several_links(self, opened: Opening) -> None:
        play = opened("a", "b")
        confirm(play)
        prefetch(play, 1)
        consume(play)
        play.link("a", deliver(1, "c", 1, b"one"))
        play.link("b", deliver(1, "c", 1, b"two"))
        play.client(publish(1, "b.1"), publish(1, "b.1"))
        links = play.links
        assert [play.session.unacknowledged(links[name]) for name in "ab"] == [1, 1]
        assert [play.session.unconfirmed(links[name]) for name in "ab"] == [0, 2]
        assert (play.session.channel_count, play.session.consumer_count) == (1, 1)


def test_an_onlooker_costs_little_when_nobody_looks() -> None:
    """Not a benchmark: catches decoding on the way, which costs a hundred times as much."""
    from trabbits.session.observation import Observation
    from trabbits.wire.scanner import Scanner

    chunk = publish(1, "key", b"x" * 100) * 300
    out: list[bytes] = []

    def once(*, observed: bool) -> float:
        scanner = Scanner(131072, lambda *_: None)
        scanner.carrying = {amqp.BASIC_PUBLISH: lambda *_: out}
        if observed:
            scanner.observe = Observation(time.time).client_tap("a")
        begun = time.process_time()
        for _ in range(20):
            scanner.feed(chunk)
            out.clear()
        return time.process_time() - begun

    plain = min(once(observed=False) for _ in range(5))
    assert min(once(observed=True) for _ in range(5)) < 2 * plain
