"""Methods that outgrow a frame by the name that trabbits puts into them: no upstream gets anything of them."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import base

from tests.session.conftest import Opening
from tests.session.frames import Basic, Channel, Queue, decoded, on, publish, split
from tests.session.playbook import Playbook
from tests.session.test_renaming import Prefixed
from trabbits.session.phase import Phase

FRAME_MAX = 4096
LARGE: Any = {"x": "y" * 4040}
GOODBYE = Channel.Close(200, "CHANNEL_CLOSED - error of the client", 0, 0)
METHODS = [Queue.Declare(arguments=LARGE), Basic.Consume(queue="q", arguments=LARGE)]


def opened(fresh: Opening, upstreams: str, renaming: str) -> Playbook:
    play = fresh(*upstreams, rewriters={name: Prefixed() for name in renaming})
    play.open(frame_max=FRAME_MAX)
    play.open_channel(1)
    play.skip()
    return play


def closes(play: Playbook) -> list[Any]:
    """The methods that the client was sent."""
    return [decoded(frame) for frame in play.taken("client")]


@pytest.mark.parametrize("renaming", ["", "b", "ab"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_in_a_fan_session(method: base.Frame, renaming: str, fresh: Opening) -> None:
    """The channel ends, and nothing else."""
    play = opened(fresh, "ab", renaming)
    octets = on(1, method)
    assert len(octets) < FRAME_MAX
    play.client(octets)
    play.expect_links(on(1, GOODBYE))
    play.all_links(on(1, Channel.CloseOk()))
    (close,) = closes(play)
    assert (close.reply_code, close.class_id << 16 | close.method_id) == (406, method.index)
    assert "octets is too large for it" in close.reply_text
    assert play.session.phase is Phase.RUNNING
    play.skip()


@pytest.mark.parametrize("renaming", ["", "a"])
def test_in_a_plain_session(renaming: str, fresh: Opening) -> None:
    play = opened(fresh, "a", renaming)
    play.client(on(1, METHODS[0]))
    if renaming:
        play.expect_link("a", on(1, GOODBYE))
        play.link("a", on(1, Channel.CloseOk()))
    assert [close.reply_code for close in closes(play)] == [406]
    assert play.taken("a") == []
    play.skip()


def test_a_publish_that_waits_for_its_header_is_no_larger_than_its_fields_may_be(fresh: Opening) -> None:
    """Where its upstream calls queues differently; elsewhere it goes up at once, for the broker to judge."""
    play = opened(fresh, "a", "a")
    frame, *_ = split(publish(1, "q"))
    more = b"more" * 100
    size = int.from_bytes(frame[3:7], "big") + len(more)
    play.client(frame[:3] + size.to_bytes(4, "big") + frame[7:-1] + more + frame[-1:])
    (close,) = closes(play)
    assert close.reply_code in (501, 502)
    assert play.taken("a") == []
    play.skip()
