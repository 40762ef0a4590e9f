"""`emulate_auto_delete` with `nowait`: queues whose declare may have been refused are not the session's to delete."""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.frames import Channel, Queue, channel_close, on
from tests.session.test_auto_delete import declare, emulating, leave, left
from trabbits.log_ids import LogId


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
