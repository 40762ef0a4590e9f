"""`try_passive`: a declare waits until it is known whether the queue exists; one that does is used as it is."""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.frames import Basic, Channel, Queue, channel_close, on, publish
from tests.session.playbook import Playbook
from trabbits.interfaces import QueueAttributes, QueueDeclare
from trabbits.log_ids import LogId

ASKED = Queue.Declare(queue="q", auto_delete=True, arguments={"x-max-length": 5})
REWRITTEN = Queue.Declare(queue="q", durable=True, auto_delete=True, arguments={"x-max-length": 5})
PASSIVE = Queue.Declare(queue="q", passive=True)
FLOW, FLOW_OK = Channel.Flow(True), Channel.FlowOk(True)


class Durable:
    """A rewriter that makes queues durable, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        """See `IQueueAttributeRewriter`."""
        self.asked += 1
        return QueueAttributes(durable=True)


def probing(opened: Opening, *upstreams: str, probe: str = "a", rewriter: Durable | None = None) -> Playbook:
    """A session with channel 1 open."""
    play = opened(*upstreams, probe=probe, rewriters=dict.fromkeys(upstreams, rewriter or Durable()))
    play.skip()
    return play


def begun(play: Playbook, *names: str, declare: Queue.Declare = ASKED) -> None:
    """The client declares; the links get through what they have, and the question is asked."""
    play.client(on(1, declare))
    for name in names:
        play.expect_link(name, on(1, FLOW))
    play.expect_actions("SetTimer probe 5")
    for token, name in enumerate(names, 1):
        play.link(name, on(1, FLOW_OK))
        play.expect_actions(f"ProbeQueue {name} q {token}")


def answer(play: Playbook, token: int, exists: bool, failure: str = "") -> None:
    """A node says whether it has the queue."""
    play.do(lambda: play.session.queue_probed(token, exists, failure))


@pytest.mark.parametrize(
    ("exists", "sent"), [(True, PASSIVE), (False, REWRITTEN)], ids=["used as it is", "declared with our attributes"]
)
def test_a_plain_session(exists: bool, sent: Queue.Declare, opened: Opening) -> None:
    play = probing(opened, "a")
    begun(play, "a")
    answer(play, 1, exists)
    play.expect_actions("CancelTimer probe")
    play.expect_link("a", on(1, sent))
    play.link("a", on(1, Queue.DeclareOk("q", 1, 2)))
    play.expect_client(on(1, Queue.DeclareOk("q", 1, 2)))
    assert not play.session.client_scanner.stalled


def test_nowait_is_kept(opened: Opening) -> None:
    play = probing(opened, "a")
    begun(play, "a", declare=Queue.Declare(queue="q", nowait=True))
    answer(play, 1, True)
    play.expect_actions("CancelTimer probe")
    play.expect_link("a", on(1, Queue.Declare(queue="q", passive=True, nowait=True)))


def test_everything_behind_the_declare_waits_in_order(opened: Opening) -> None:
    play = probing(opened, "a")
    play.open_channel(2)
    play.client(on(1, ASKED) + publish(1, "q", b"1") + publish(2, "q", b"2") + on(1, Basic.Qos(prefetch_count=1)))
    play.expect_link("a", on(1, FLOW))
    play.expect_actions("SetTimer probe 5")
    assert play.session.client_scanner.stalled
    play.link("a", on(1, FLOW_OK))
    play.expect_actions("ProbeQueue a q 1")
    answer(play, 1, False)
    play.expect_actions("CancelTimer probe")
    play.expect_link(
        "a", on(1, REWRITTEN) + publish(1, "q", b"1") + publish(2, "q", b"2") + on(1, Basic.Qos(prefetch_count=1))
    )


def test_what_the_upstream_sends_meanwhile_goes_on(opened: Opening) -> None:
    play = probing(opened, "a")
    begun(play, "a")
    play.link("a", on(1, Basic.CancelOk("c")))
    play.expect_client(on(1, Basic.CancelOk("c")))
    answer(play, 1, True)
    play.skip()


def test_a_flow_of_the_clients_is_still_its_own(opened: Opening) -> None:
    play = probing(opened, "a")
    play.client(on(1, FLOW, ASKED, FLOW))
    play.expect_link("a", on(1, FLOW, FLOW))
    play.expect_actions("SetTimer probe 5")
    play.link("a", on(1, FLOW_OK))
    play.expect_client(on(1, FLOW_OK))
    play.link("a", on(1, FLOW_OK))
    play.expect_actions("ProbeQueue a q 1")
    answer(play, 1, False)
    play.expect_actions("CancelTimer probe")
    play.expect_link("a", on(1, REWRITTEN, FLOW))
    play.link("a", on(1, Queue.DeclareOk("q", 0, 0), FLOW_OK))
    play.expect_client(on(1, Queue.DeclareOk("q", 0, 0), FLOW_OK))


@pytest.mark.parametrize(
    "declare", [PASSIVE, Queue.Declare(queue="")], ids=["passive already", "the server names the queue"]
)
@pytest.mark.parametrize("upstreams", ["a", "ab"])
def test_not_asked(upstreams: str, declare: Queue.Declare, opened: Opening) -> None:
    play = probing(opened, *upstreams)
    play.client(on(1, declare))
    (sent,) = play.taken("a")
    assert sent[7:11] == bytes((0, 50, 0, 10))
    play.skip()


@pytest.mark.parametrize("upstreams", ["a", "ab"])
def test_no_answer_in_time_means_declare(upstreams: str, opened: Opening) -> None:
    """Nor does an answer matter that comes later."""
    play = probing(opened, *upstreams)
    play.client(on(1, ASKED))
    play.skip()
    play.do(lambda: play.session.timer_fired("probe"))
    play.expect_actions("CancelTimer probe")
    play.expect_links(on(1, REWRITTEN))
    play.expect_log(LogId.QUEUE_PROBE_FAILED)
    play.link("a", on(1, FLOW_OK))
    play.all_links(on(1, Queue.DeclareOk("q", 0, 0)))
    play.expect_client(on(1, Queue.DeclareOk("q", 0, 0)))
    answer(play, 1, True)


def test_a_question_that_fails_means_declare(opened: Opening) -> None:
    durable = Durable()
    play = probing(opened, "a", rewriter=durable)
    begun(play, "a")
    answer(play, 1, False, "did not answer")
    play.expect_actions("CancelTimer probe")
    play.expect_link("a", on(1, REWRITTEN))
    play.expect_log(LogId.QUEUE_PROBE_FAILED)
    assert durable.asked == 1


@pytest.mark.parametrize("upstreams", ["a", "ab"])
def test_a_channel_that_the_upstream_closes_meanwhile(upstreams: str, opened: Opening) -> None:
    play = probing(opened, *upstreams)
    begun(play, "a")
    closing = channel_close(1, 406, "PRECONDITION_FAILED - no")
    play.link("a", closing)
    play.skip()
    assert not play.session.client_scanner.stalled
    answer(play, 1, True)
    play.expect_nothing()
    if upstreams == "ab":
        play.link("b", on(1, Channel.CloseOk()))
        play.expect_client(closing)
    # The same once more, on a new channel: asked anew.
    play.client(on(1, Channel.CloseOk()))
    play.skip()
    play.open_channel(1)
    play.client(on(1, ASKED))
    play.expect_link("a", on(1, FLOW))
    play.expect_actions("SetTimer probe 5")
    play.do(lambda: play.session.timer_fired("probe"))
    play.skip()


def test_a_fan_session_asks_those_that_want_it(opened: Opening) -> None:
    play = probing(opened, "a", "b", "c", probe="ac")
    begun(play, "a", "c")
    answer(play, 2, True)
    play.expect_nothing()
    answer(play, 1, False)
    play.expect_actions("CancelTimer probe")
    play.expect_link("a", on(1, REWRITTEN))
    play.expect_link("b", on(1, REWRITTEN))
    play.expect_link("c", on(1, PASSIVE))
    for name in "abc":
        play.expect_nothing()
        play.link(name, on(1, Queue.DeclareOk("q", 1, 1)))
    play.expect_client(on(1, Queue.DeclareOk("q", 3, 3)))


def test_a_fan_session_asks_when_what_was_asked_before_is_done(opened: Opening) -> None:
    """Deleted and declared at once: the queue that is found must not be the one that is being deleted."""
    play = probing(opened, "a", "b")
    play.client(on(1, Queue.Delete(queue="q"), ASKED))
    play.expect_link("a", on(1, Queue.Delete(queue="q"), FLOW))
    play.expect_link("b", on(1, Queue.Delete(queue="q")))
    play.expect_actions("SetTimer probe 5")
    play.link("a", on(1, Queue.DeleteOk(0), FLOW_OK))
    play.expect_nothing()
    play.link("b", on(1, Queue.DeleteOk(0)))
    play.expect_client(on(1, Queue.DeleteOk(0)))
    play.expect_actions("ProbeQueue a q 1")
    answer(play, 1, False)
    play.expect_actions("CancelTimer probe")
    play.expect_links(on(1, REWRITTEN))


def test_an_answer_after_the_session_has_ended(opened: Opening) -> None:
    play = probing(opened, "a")
    begun(play, "a")
    play.do(lambda: play.session.client_lost("gone"))
    play.skip()
    answer(play, 1, False, "the link ended")
    play.do(lambda: play.session.timer_fired("probe"))
    play.expect_log()


def test_the_time_does_not_count_while_the_client_takes_nothing(opened: Opening) -> None:
    """Its links are not read then: not being answered says nothing about the queue."""
    play = probing(opened, "a")
    begun(play, "a")
    play.session.client_full = True
    play.do(lambda: play.session.timer_fired("probe"))
    play.expect_actions("SetTimer probe 5")
    answer(play, 1, False, "did not answer")
    play.expect_nothing()
    play.do(lambda: play.session.timer_fired("probe"))
    play.expect_actions("SetTimer probe 5", "ProbeQueue a q 2")
    play.session.client_full = False
    answer(play, 2, True)
    play.expect_actions("CancelTimer probe")
    play.expect_link("a", on(1, PASSIVE))
    play.expect_log()
