"""`emulate_auto_delete` with `nowait`: queues whose declare or delete may have been refused stay; the log says so."""

from __future__ import annotations

import pytest
from pamqp import base

from tests.session.conftest import Opening
from tests.session.frames import Channel, Queue, channel_close, on
from tests.session.test_auto_delete import declare, emulating, leave, left
from trabbits.log_ids import LogId
from trabbits.session import auto_delete


@pytest.mark.parametrize("upstreams", ["a", "ab"])
@pytest.mark.parametrize("leaving", [False, True])
def test_a_declare_without_answer_that_was_refused(upstreams: str, leaving: bool, opened: Opening) -> None:
    """The queue is somebody else's; and whether the refusal meant this declare, nobody can tell."""
    play = emulating(opened, *upstreams)
    play.client(on(1, Queue.Declare(queue="q", auto_delete=True, nowait=True)))
    play.skip()
    if leaving:
        leave(play)
        play.skip()
    for name in upstreams:
        play.link(name, channel_close(1, 406, "PRECONDITION_FAILED - no"))
        assert LogId.QUEUE_NOT_DELETED in [entry for entry, _ in play.logged]
        assert not any(action.startswith("DeleteQueue") for action in play.taken_actions())
        play.skip()
    assert leaving or not left(play)


@pytest.mark.parametrize("upstreams", ["a", "ab"])
@pytest.mark.parametrize("proof", ["answer", "closed channel"])
def test_nowait_known_to_have_worked(upstreams: str, proof: str, opened: Opening) -> None:
    play = emulating(opened, *upstreams)
    play.client(on(1, Queue.Declare(queue="q", auto_delete=True, nowait=True)))
    play.skip()
    if proof == "answer":
        declare(play, "q")
    else:
        play.client(on(1, Channel.Close(200, "bye", 0, 0)))
        play.skip()
        play.all_links(on(1, Channel.CloseOk()))
        play.skip()
        play.open_channel(1)
    for name in upstreams:
        play.link(name, channel_close(1, 404, "NOT_FOUND - no"))
        play.skip()
    assert left(play)


@pytest.mark.parametrize("upstreams", ["a", "ab"])
@pytest.mark.parametrize("leaving", [False, True])
def test_a_delete_without_answer_that_was_refused(upstreams: str, leaving: bool, opened: Opening) -> None:
    """The queue may still be there, or be somebody else's by now: it stays, and the log says so."""
    play = emulating(opened, *upstreams)
    declare(play, "q")
    play.client(on(1, Queue.Delete(queue="q", if_unused=True, nowait=True)))
    play.skip()
    if leaving:
        leave(play)
        play.skip()
    for name in upstreams:
        play.link(name, channel_close(1, 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use"))
        assert [fields["queue"] for entry, fields in play.logged if entry is LogId.QUEUE_NOT_DELETED] == ["q"]
        assert not any(action.startswith("DeleteQueue") for action in play.taken_actions())
        play.skip()
    assert leaving or not left(play)


@pytest.mark.parametrize("proof", ["declared again", "closed channel"])
def test_a_delete_without_answer_that_is_past(proof: str, opened: Opening) -> None:
    play = emulating(opened, "a")
    declare(play, "q")
    play.client(on(1, Queue.Delete(queue="q", nowait=True)))
    play.skip()
    if proof == "declared again":
        declare(play, "q")
    else:
        play.client(on(1, Channel.Close(200, "bye", 0, 0)))
        play.skip()
        play.link("a", on(1, Channel.CloseOk()))
        play.skip()
        play.open_channel(1)
    play.link("a", channel_close(1, 404, "NOT_FOUND - no"))
    assert LogId.QUEUE_NOT_DELETED not in [entry for entry, _ in play.logged]
    play.skip()
    assert left(play) is (proof == "declared again")


def test_the_oldest_doubts_are_forgotten(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_delete, "DOUBTS_MAX", 2)
    play = emulating(opened, "a")
    for name in ("q0", "q1", "q2"):
        declare(play, name)
        play.client(on(1, Queue.Delete(queue=name, nowait=True)))
        play.skip()
    play.link("a", channel_close(1, 406, "PRECONDITION_FAILED - no"))
    assert [fields["queue"] for entry, fields in play.logged if entry is LogId.QUEUE_NOT_DELETED] == ["q1", "q2"]
    play.skip()


@pytest.mark.parametrize("nowait", [False, True])
def test_nothing_is_kept_of_queues_that_come_and_go(nowait: bool, opened: Opening) -> None:
    play = emulating(opened, "a")
    for number in range(3):
        name = f"q{number}"
        play.client(
            on(1, Queue.Declare(queue=name, auto_delete=True, nowait=True), Queue.Delete(queue=name, nowait=nowait))
        )
        play.skip()
        if not nowait:
            play.link("a", on(1, Queue.DeleteOk(0)))
            play.skip()
    assert play.session.auto_deletes is not None
    (at,) = play.session.auto_deletes._links.values()
    assert (at.queues, at.unproven) == ({}, {1: set()})


@pytest.mark.parametrize("again", [False, True])
def test_a_delete_without_answer_before_the_declare_is_answered(again: bool, opened: Opening) -> None:
    """The answer to what came before it says nothing of what is there now."""
    play = emulating(opened, "a")
    methods: list[base.Frame] = [Queue.Declare(queue="q", auto_delete=True), Queue.Delete(queue="q", nowait=True)]
    play.client(on(1, *methods, *methods[: int(again)]))
    play.skip()
    for _ in range(1 + again):
        play.link("a", on(1, Queue.DeclareOk("q", 0, 0)))
        play.skip()
    leave(play)
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    actions = play.taken_actions()
    assert any(action.startswith("DeleteQueue") for action in actions) is again
    play.skip()
