"""`emulate_auto_delete`: queues that the client declared auto-delete, and the upstream did not, go with the session."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import base

from tests.session.conftest import Opening
from tests.session.frames import Basic, Channel, Connection, Queue, channel_close, connection_close, on, publish
from tests.session.playbook import Playbook
from trabbits.interfaces import QueueAttributes, QueueDeclare
from trabbits.log_ids import LogId
from trabbits.session import auto_delete
from trabbits.session.actions import Deletion

GOODBYE = Channel.Close(200, "Goodbye", 0, 0)
LEAVING = ("CancelTimer handshake", "CancelTimer heartbeat")


class Lasting:
    """A rewriter that leaves no queue auto-delete."""

    def __init__(self, **others: Any) -> None:
        self.wanted = QueueAttributes(auto_delete=False, **others)

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        """See `IQueueAttributeRewriter`."""
        return self.wanted


def emulating(opened: Opening, *upstreams: str, emulate: str = "ab", **options: Any) -> Playbook:
    """A session with channel 1 open."""
    play = opened(*upstreams, emulate=emulate, **{"rewriters": {name: Lasting() for name in upstreams}, **options})
    play.skip()
    return play


def declare(play: Playbook, queue: str, *, auto_delete: bool = True, **fields: Any) -> None:
    """A declare that is answered."""
    play.client(on(1, Queue.Declare(queue=queue, auto_delete=auto_delete, **fields)))
    play.skip()
    play.all_links(on(1, Queue.DeclareOk(queue, 0, 0)))
    play.skip()


def leave(play: Playbook) -> None:
    """The client closes the connection."""
    play.client(on(0, Connection.Close(200, "bye", 0, 0)))


def deleted(play: Playbook, name: str, outcome: Deletion = Deletion.DELETED, text: str = "") -> None:
    """A node says what became of the queue."""
    play.do(lambda: play.session.queue_deleted(play.links[name], outcome, text))


def left(play: Playbook) -> bool:
    """The client leaves: whether anything is to be deleted."""
    leave(play)
    actions = play.taken_actions()
    play.skip()
    return any(action.startswith("DrainLink") for action in actions)


def test_the_steps_of_a_plain_session(opened: Opening) -> None:
    """Its channels are closed first, so that its own consumers do not keep a queue alive."""
    play = emulating(opened, "a")
    declare(play, "q")
    declare(play, "r")
    leave(play)
    play.expect_link("a", on(1, GOODBYE))
    play.expect_actions(*LEAVING, "DrainLink a", "SetTimer clean-up 5", "SetTimer close 1")
    play.link("a", on(1, Basic.CancelOk("c"), Channel.CloseOk()))
    play.expect_actions("DeleteQueue a q")
    deleted(play, "a")
    play.expect_actions("DeleteQueue a r")
    deleted(play, "a", Deletion.FAILED, "not allowed")
    play.expect_actions("CancelTimer clean-up", "CancelTimer clean-up again", "CloseLink a")
    play.expect_log(LogId.CLIENT_CLOSED, LogId.QUEUE_DELETED, LogId.QUEUE_NOT_DELETED)
    play.do(lambda: play.session.link_gone(play.links["a"]))
    play.expect_client(on(0, Connection.CloseOk()))
    play.skip()


def test_the_steps_of_a_fan_session(opened: Opening) -> None:
    """Each link by itself, the other one is closed at once; channels in whatever state."""
    play = emulating(opened, "a", "b", emulate="b")
    declare(play, "q")
    play.open_channel(2)
    play.open_channel(3)
    play.client(on(2, Channel.Close(200, "bye", 0, 0)))
    play.skip()
    play.link("b", channel_close(3, 404, "NOT_FOUND - no"))
    play.skip()
    leave(play)
    play.expect_link("b", on(1, GOODBYE))
    play.expect_actions(*LEAVING, "CloseLink a", "DrainLink b", "SetTimer clean-up 5", "SetTimer close 1")
    play.link("b", on(2, Channel.CloseOk()))
    play.expect_nothing()
    play.link("b", on(1, Channel.CloseOk()))
    play.expect_actions("DeleteQueue b q")
    deleted(play, "b", Deletion.MISSING)
    play.expect_actions("CancelTimer clean-up", "CancelTimer clean-up again", "CloseLink b")
    play.expect_log(LogId.CLIENT_CLOSED)


@pytest.mark.parametrize("end", ["client vanishes", "we close", "violation", "heartbeat"])
def test_however_the_session_ends(end: str, opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    if end == "client vanishes":
        play.do(lambda: play.session.client_lost("gone"))
    elif end == "we close":
        play.do(lambda: play.session.close(320, "CONNECTION_FORCED - bye"))
    elif end == "violation":
        play.client(b"\x09" * 8)
    else:
        play.do(lambda: play.session.timer_fired("heartbeat"))
        while "DrainLink a" not in play._left_actions:
            play.skip()
            play.do(lambda: play.session.timer_fired("heartbeat"))
    assert "DrainLink a" in play.taken_actions()
    play.expect_link("a", on(1, GOODBYE))
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_actions("DeleteQueue a q")
    deleted(play, "a")
    play.expect_actions("CancelTimer clean-up", "CancelTimer clean-up again", "CloseLink a")


def test_without_channels_it_is_deleted_at_once(opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    play.client(on(1, Channel.Close(200, "bye", 0, 0)))
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.skip()
    play.do(lambda: play.session.client_lost("gone"))
    assert "DeleteQueue a q" in play.taken_actions()
    play.skip()


def test_a_channel_in_the_middle_of_a_message_is_not_closed(opened: Opening) -> None:
    """Anything but the rest of the message would be an error that closes the link."""
    play = emulating(opened, "a")
    declare(play, "q")
    play.open_channel(2)
    play.client(publish(2, "k", b"half")[:-3])
    play.skip()
    play.do(lambda: play.session.client_lost("gone"))
    play.expect_link("a", on(1, GOODBYE))
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_actions("DeleteQueue a q")
    deleted(play, "a")
    play.skip()


@pytest.mark.parametrize("upstreams", ["a", "ab"])
@pytest.mark.parametrize("answer", ["declared", "refused", "deleted behind it"])
def test_a_declare_before_such_a_message_is_waited_for(upstreams: str, answer: str, opened: Opening) -> None:
    """Its answer says what is to be deleted, and nothing else would."""
    play = emulating(opened, *upstreams, emulate="a")
    methods: list[base.Frame] = [Queue.Declare(queue="q", auto_delete=True)]
    if answer == "deleted behind it":
        methods.append(Queue.Delete(queue="q", nowait=True))
    play.client(on(1, *methods), publish(1, "a.k", b"rest")[:-9])
    play.skip()
    play.do(lambda: play.session.client_lost("gone"))
    before = play.taken_actions()
    assert not any(action.startswith(("DeleteQueue", "CloseLink a")) for action in before)
    play.skip()
    refused = channel_close(1, 406, "PRECONDITION_FAILED - no")
    play.link("a", refused if answer == "refused" else on(1, Queue.DeclareOk("q", 0, 0)))
    after = play.taken_actions()
    is_there = answer == "declared"
    assert ("DeleteQueue a q" in after, "CloseLink a" in after) == (is_there, not is_there)
    play.skip()


@pytest.mark.parametrize("end", ["timer", "link"])
def test_a_declare_that_is_not_answered_is_told_of(end: str, opened: Opening) -> None:
    """The queue may be there, and nobody will delete it."""
    play = emulating(opened, "a")
    play.client(on(1, Queue.Declare(queue="q", auto_delete=True)), publish(1, "a.k", b"rest")[:-9])
    play.skip()
    play.do(lambda: play.session.client_lost("gone"))
    play.skip()
    if end == "timer":
        play.do(lambda: play.session.timer_fired("clean-up"))
    else:
        play.do(lambda: play.session.link_lost(play.links["a"], "gone"))
    told = [fields for entry, fields in play.logged if entry is LogId.QUEUE_NOT_DELETED]
    assert [(fields["queue"], fields["text"]) for fields in told] == [
        ("q", "it was declared without an answer, and whether that worked is not known")
    ]
    play.skip()


def test_a_queue_in_use_is_tried_again_and_stays_in_the_end(opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    leave(play)
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    for _ in range(3):
        play.expect_actions("DeleteQueue a q")
        deleted(play, "a", Deletion.IN_USE, "1 consumer")
        play.expect_actions("SetTimer clean-up again 0.1")
        play.do(lambda: play.session.timer_fired("clean-up again"))
    play.expect_actions("DeleteQueue a q")
    play.expect_log()
    deleted(play, "a", Deletion.IN_USE, "1 consumer")
    play.expect_log(LogId.QUEUE_NOT_DELETED)
    play.expect_actions("CancelTimer clean-up", "CancelTimer clean-up again", "CloseLink a")


@pytest.mark.parametrize("when", ["channels", "queues"])
def test_it_is_bounded(when: str, opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    declare(play, "r")
    leave(play)
    if when == "queues":
        play.skip()
        play.link("a", on(1, Channel.CloseOk()))
    play.skip()
    play.do(lambda: play.session.timer_fired("clean-up"))
    play.expect_actions("CancelTimer clean-up", "CancelTimer clean-up again", "CloseLink a")
    play.expect_log(LogId.QUEUE_NOT_DELETED, LogId.QUEUE_NOT_DELETED)
    deleted(play, "a")


def test_the_clients_close_ok_does_not_wait_for_longer_than_it_may(opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    leave(play)
    play.skip()
    play.do(lambda: play.session.timer_fired("close"))
    play.expect_client(on(0, Connection.CloseOk()))
    play.skip()
    play.do(lambda: play.session.client_lost("closed"))
    play.skip()
    assert not play.session.finished
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_actions("DeleteQueue a q")
    deleted(play, "a")
    play.skip()
    play.do(lambda: play.session.link_gone(play.links["a"]))
    assert play.session.finished
    play.skip()


@pytest.mark.parametrize("upstreams", ["a", "ab"])
def test_a_lost_link_can_delete_nothing(upstreams: str, opened: Opening) -> None:
    play = emulating(opened, *upstreams, emulate="a")
    declare(play, "q")
    play.do(lambda: play.session.link_lost(play.links["a"], "upstream 'a' is gone"))
    play.expect_client(connection_close(320, "CONNECTION_FORCED - upstream 'a' is gone"))
    assert LogId.QUEUE_NOT_DELETED in [entry for entry, _ in play.logged]
    assert not any("Drain" in action for action in play.taken_actions())


def test_nor_can_one_that_is_lost_meanwhile(opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    leave(play)
    play.skip()
    play.do(lambda: play.session.link_lost(play.links["a"], "gone"))
    play.expect_log(LogId.LINK_LOST, LogId.QUEUE_NOT_DELETED)
    play.skip()


def test_one_that_breaks_the_protocol_meanwhile_is_closed(opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    leave(play)
    play.skip()
    play.link("a", b"\x09" * 8)
    play.expect_actions("CancelTimer clean-up", "CancelTimer clean-up again", "CloseLink a")
    play.expect_log(LogId.QUEUE_NOT_DELETED, LogId.LINK_VIOLATION)


def test_nor_one_that_broke_the_protocol(opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    play.link("a", b"\x09" * 8)
    assert LogId.QUEUE_NOT_DELETED in [entry for entry, _ in play.logged]
    assert "CloseLink a" in play.taken_actions()
    play.skip()


# Which queues


@pytest.mark.parametrize("upstreams", ["a", "ab"])
class TestNothingToDelete:
    def test_what_the_client_did_not_want_deleted(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams)
        declare(play, "q", auto_delete=False)
        declare(play, "q", passive=True)
        assert not left(play)

    def test_what_the_upstream_deletes_itself(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams, rewriters={})
        declare(play, "q")
        assert not left(play)

    def test_exclusive_queues_go_with_the_link(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams)
        declare(play, "q", exclusive=True)
        assert not left(play)

    def test_where_it_is_not_configured(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams, emulate="")
        declare(play, "q")
        assert not left(play)

    def test_a_declare_that_was_refused(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams)
        play.client(on(1, Queue.Declare(queue="q", auto_delete=True)))
        play.skip()
        play.link("a", channel_close(1, 406, "PRECONDITION_FAILED - no"))
        play.skip()
        if upstreams == "ab":
            play.link("b", on(1, Channel.CloseOk()))
            play.skip()
        play.client(on(1, Channel.CloseOk()))
        play.skip()
        play.open_channel(1)
        assert not left(play)

    @pytest.mark.parametrize("name", ["q", ""])
    def test_what_the_client_deleted_itself(self, upstreams: str, name: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams)
        declare(play, "q")
        play.client(on(1, Queue.Delete(queue=name)))
        play.skip()
        play.all_links(on(1, Queue.DeleteOk(0)))
        play.skip()
        assert not left(play)

    @pytest.mark.parametrize("name", ["q", ""])
    def test_what_the_client_deleted_and_did_not_wait_for(self, upstreams: str, name: str, opened: Opening) -> None:
        """The channel is closed first, because only then it is known that it worked."""
        play = emulating(opened, *upstreams)
        declare(play, "q")
        play.client(on(1, Queue.Delete(queue=name, nowait=True)))
        play.skip()
        assert left(play)
        for link in upstreams:
            play.link(link, on(1, Channel.CloseOk()))
            assert not any(action.startswith("DeleteQueue") for action in play.taken_actions())
            assert not play.logged
            play.skip()

    def test_a_queue_that_was_there(self, upstreams: str, opened: Opening) -> None:
        """try_passive: it is used as it is, and stays."""
        play = emulating(opened, *upstreams, probe="ab")
        play.client(on(1, Queue.Declare(queue="q", auto_delete=True)))
        play.skip()
        for name in upstreams:
            play.link(name, on(1, Channel.FlowOk(True)))
            play.skip()
        for token in range(1, len(upstreams) + 1):
            play.do(lambda: play.session.queue_probed(token, True))  # noqa: B023 - called at once
            play.skip()
        play.all_links(on(1, Queue.DeclareOk("q", 0, 0)))
        play.skip()
        assert not left(play)


@pytest.mark.parametrize("upstreams", ["a", "ab"])
class TestSomethingToDelete:
    def test_nowait(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams)
        play.client(on(1, Queue.Declare(queue="q", auto_delete=True, nowait=True)))
        play.skip()
        assert left(play)

    def test_declared_again_after_it_was_deleted(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams)
        wish = Queue.Declare(queue="q", auto_delete=True)
        play.client(on(1, wish, Queue.Delete(queue="q"), wish))
        play.skip()
        ok = Queue.DeclareOk("q", 0, 0)
        for name in upstreams:
            play.link(name, on(1, ok, Queue.DeleteOk(0), ok))
            play.skip()
        assert left(play)

    def test_a_delete_that_was_refused(self, upstreams: str, opened: Opening) -> None:
        play = emulating(opened, *upstreams)
        declare(play, "q")
        play.client(on(1, Queue.Delete(queue="q", if_empty=True)))
        play.skip()
        for name in upstreams:
            play.link(name, channel_close(1, 406, "PRECONDITION_FAILED - not empty"))
            play.skip()
        assert left(play)

    def test_answered_when_the_client_is_gone(self, upstreams: str, opened: Opening) -> None:
        """The declare was on its way: its queue is known when the channel is closed behind it."""
        play = emulating(opened, *upstreams)
        play.client(on(1, Queue.Declare(queue="q", auto_delete=True)))
        play.skip()
        assert left(play)
        play.link("a", on(1, Queue.DeclareOk("q", 0, 0), Channel.CloseOk()))
        play.expect_actions("DeleteQueue a q")
        deleted(play, "a")
        play.skip()


def test_no_more_than_so_many(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones are remembered, and the log says once that others are not."""
    monkeypatch.setattr(auto_delete, "REMEMBERED_MAX", 2)
    play = emulating(opened, "a")
    for queue in "qrst":
        play.client(on(1, Queue.Declare(queue=queue, auto_delete=True)))
        play._left.clear()
        play.link("a", on(1, Queue.DeclareOk(queue, 0, 0)))
        play._left.clear()
    declare_again = Queue.Declare(queue="q", auto_delete=True, nowait=True)
    play.client(on(1, declare_again))
    play._left.clear()
    play.expect_log(LogId.QUEUE_NOT_DELETED)
    leave(play)
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_actions("DeleteQueue a q")
    deleted(play, "a")
    play.expect_actions("DeleteQueue a r")
    deleted(play, "a")
    play.expect_actions("CancelTimer clean-up", "CancelTimer clean-up again", "CloseLink a")
