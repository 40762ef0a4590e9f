"""Sessions one of whose upstreams, b or the only one, is asked for other exchanges and bindings.

Covered: what each link gets, names of queues there, queues declared last, channels that trabbits closes because
something does not fit.
Not covered: attributes one by one, chains (test_topology.py); rewriters that fail (test_plugins_that_fail.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface import implementer

from tests.session.conftest import Opening
from tests.session.frames import (
    Channel,
    Connection,
    Exchange,
    Queue,
    channel_close,
    connection_close,
    decoded,
    on,
    publish,
)
from tests.session.playbook import Playbook
from tests.session.test_topology import Answering, Prefixing
from trabbits.interfaces import (
    Binding,
    BindingAttributes,
    ExchangeAttributes,
    ExchangeDeclare,
    IQueueRenamer,
    ITopologyRewriter,
    QueueAttributes,
    QueueDeclare,
)
from trabbits.log_ids import LogId

#: As the client sends it, and what the upstream gets of it.
PAIRS = [
    (
        Exchange.Declare(exchange="x", exchange_type="x-delayed-message"),
        Exchange.Declare(exchange="x", exchange_type="topic"),
    ),
    (Exchange.Declare(exchange="x", passive=True), Exchange.Declare(exchange="x", passive=True)),
    (Queue.Bind(queue="q", exchange="x", routing_key="k"), Queue.Bind(queue="q", exchange="x", routing_key="new.k")),
    (
        Queue.Unbind(queue="q", exchange="x", routing_key="k"),
        Queue.Unbind(queue="q", exchange="x", routing_key="new.k"),
    ),
    (
        Exchange.Bind(destination="y", source="x", routing_key="k", nowait=True),
        Exchange.Bind(destination="y", source="x", routing_key="new.k", nowait=True),
    ),
    (
        Exchange.Unbind(destination="y", source="x", routing_key="k"),
        Exchange.Unbind(destination="y", source="x", routing_key="new.k"),
    ),
    (Exchange.Delete(exchange="x"), Exchange.Delete(exchange="x")),
    (Queue.Purge(queue="q"), Queue.Purge(queue="q")),
]
GOODBYE = channel_close(1, 200, "CHANNEL_CLOSED - error of the client")


class Moving(Prefixing):
    """Another type for exchanges, too."""

    def rewrite_exchange(self, declare: ExchangeDeclare) -> ExchangeAttributes:
        """See `ITopologyRewriter`."""
        super().rewrite_exchange(declare)
        return ExchangeAttributes(type="topic")


@implementer(IQueueRenamer)
class MovingAndRenaming(Moving):
    """And other names for queues."""

    def renamed(self, queue: str) -> str:
        """See `IQueueRenamer`."""
        return f"their.{queue}"

    def original(self, queue: str) -> str:
        """See `IQueueRenamer`."""
        return queue.removeprefix("their.")


def fields_of(frame: bytes) -> dict[str, Any]:
    return dict(decoded(frame))


class Growing(Answering):
    """More arguments for everything, queues included."""

    def __init__(self, more: dict[str, Any]) -> None:
        super().__init__(ExchangeAttributes(arguments=more), BindingAttributes(arguments=more))
        self._more = QueueAttributes(arguments=more)

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        """See `IQueueAttributeRewriter`."""
        return self._more


SESSIONS = pytest.mark.parametrize("upstreams", ["b", "ab"], ids=["plain", "fan"])
RENAMING = pytest.mark.parametrize("rewriter", [Moving, MovingAndRenaming])


def rewriting(opened: Opening, upstreams: str, rewriter: ITopologyRewriter | None = None, **options: Any) -> Playbook:
    play = opened(*upstreams, rewriters={"b": rewriter or Moving()}, **options)
    play.skip()
    return play


def others(play: Playbook, frame: bytes) -> None:
    """Upstreams without rewriter got this as it is."""
    if "a" in play.upstreams:
        play.expect_link("a", frame)


@SESSIONS
@pytest.mark.parametrize(("sent", "got"), PAIRS, ids=lambda method: str(method.name))
def test_each_upstream_gets_what_its_rewriter_says(opened: Opening, upstreams: str, sent: Any, got: Any) -> None:
    play = rewriting(opened, upstreams)
    octets = on(1, sent)
    play.client(octets[:15])
    play.client(octets[15:])
    others(play, octets)
    play.expect_link("b", on(1, got))


@SESSIONS
def test_the_answer_of_all_upstreams_reaches_the_client_once(opened: Opening, upstreams: str) -> None:
    play = rewriting(opened, upstreams)
    play.client(on(1, Queue.Bind(queue="q", exchange="x", routing_key="k")))
    play.skip()
    play.all_links(on(1, Queue.BindOk()))
    play.expect_client(on(1, Queue.BindOk()))


@SESSIONS
@RENAMING
def test_the_queue_declared_last_is_known_by_the_clients_name(
    opened: Opening, upstreams: str, rewriter: type[Moving]
) -> None:
    """Named or not; nobody has to wait for the answer to the declare."""
    rewrites = rewriter()
    play = rewriting(opened, upstreams, rewrites)
    bind = on(1, Queue.Bind(queue="", exchange="x", routing_key=""))
    renamed = "their." if rewriter is MovingAndRenaming else ""
    play.client(on(1, Queue.Declare(queue="q")), bind)
    declare, bound = play.taken("b")
    assert fields_of(declare)["queue"] == renamed + "q"
    assert (fields_of(bound)["queue"], fields_of(bound)["routing_key"]) == (renamed + "q", "new.q")
    play.skip()
    play.client(on(1, Queue.Declare(queue="")), bind)
    declare, bound = play.taken("b")
    named = fields_of(declare)["queue"]
    assert named.startswith("trabbits.gen-")
    assert (fields_of(bound)["queue"], fields_of(bound)["routing_key"]) == (named, f"new.{named}")
    assert rewrites.asked == [Binding("x", "q", routing_key="q"), Binding("x", named, routing_key=named)]
    play.skip()


@SESSIONS
def test_the_queue_declared_last_belongs_to_its_channel(opened: Opening, upstreams: str) -> None:
    """Where there is none, the client hears from the node what it did wrong."""
    rewriter = Moving()
    play = rewriting(opened, upstreams, rewriter)
    play.client(on(1, Queue.Declare(queue="q")))
    play.skip()
    play.open_channel(2)
    bind = on(2, Queue.Bind(queue="", exchange="x", routing_key=""))
    play.client(bind)
    play.expect_links(bind)
    assert not rewriter.asked


@SESSIONS
def test_a_binding_keeps_its_short_form_where_the_key_stays(opened: Opening, upstreams: str) -> None:
    """With the client's name of the queue as its key if the upstream has another one."""
    play = rewriting(opened, upstreams, Answering(binding=BindingAttributes(arguments={"a": True})))
    play.client(on(1, Queue.Declare(queue="q")))
    play.skip()
    play.client(on(1, Queue.Bind(queue="", exchange="x", routing_key="")))
    others(play, on(1, Queue.Bind(queue="", exchange="x", routing_key="")))
    play.expect_link("b", on(1, Queue.Bind(queue="", exchange="x", routing_key="", arguments={"a": True})))


@SESSIONS
def test_another_name_for_the_queue_is_given_behind_the_rewriter(opened: Opening, upstreams: str) -> None:
    rewriter = MovingAndRenaming()
    play = rewriting(opened, upstreams, rewriter)
    bind = on(1, Queue.Bind(queue="q", exchange="x", routing_key="q"))
    play.client(bind)
    others(play, bind)
    play.expect_link("b", on(1, Queue.Bind(queue="their.q", exchange="x", routing_key="new.q")))
    assert rewriter.asked == [Binding("x", "q", routing_key="q")]


# What does not fit

LONG = Exchange.Bind(destination="y", source="x", routing_key="k" * 252)
TEXT = f"upstream 'b' rewrites exchanges and bindings, and its routing key for '{'k' * 252}' would have 256 octets"


def refused(opened: Opening, upstreams: str, rewriter: ITopologyRewriter | None = None) -> Playbook:
    play = rewriting(opened, upstreams, rewriter)
    play.client(on(1, LONG), on(1, LONG))
    play.expect_links(GOODBYE)
    play.expect_log(LogId.CHANNEL_ERROR_SENT)
    return play


@SESSIONS
@RENAMING
def test_a_key_that_does_not_fit_closes_the_channel(opened: Opening, upstreams: str, rewriter: type[Moving]) -> None:
    """No upstream gets anything of it, and the channel's number can be used again."""
    play = refused(opened, upstreams, rewriter())
    play.all_links(on(1, Channel.CloseOk()))
    (close,) = play.taken("client")
    assert fields_of(close)["reply_code"] == 406
    assert fields_of(close)["reply_text"].startswith(f"PRECONDITION_FAILED - {TEXT}"[:252])
    assert (fields_of(close)["class_id"], fields_of(close)["method_id"]) == (40, 30)
    play.client(on(1, Channel.CloseOk()))
    play.skip()
    play.open_channel(1)
    bind = on(1, Exchange.Bind(destination="y", source="x", routing_key="k"))
    play.client(bind)
    others(play, bind)
    play.expect_link("b", on(1, Exchange.Bind(destination="y", source="x", routing_key="new.k")))


@SESSIONS
def test_both_close_at_once(opened: Opening, upstreams: str) -> None:
    play = refused(opened, upstreams)
    play.client(channel_close(1, 200, "bye"))
    play.all_links(on(1, Channel.CloseOk()))
    play.expect_client(on(1, Channel.CloseOk()))
    play.open_channel(1)


@SESSIONS
def test_other_channels_go_on(opened: Opening, upstreams: str) -> None:
    play = rewriting(opened, upstreams)
    play.open_channel(2)
    play.client(on(1, LONG), publish(2, "b.k", b"x"))
    assert play.taken("b")[0] == GOODBYE
    assert len(play.messages("b")) == 1
    play.skip()


@SESSIONS
def test_a_method_that_outgrows_the_links_frames_closes_the_channel(fresh: Opening, upstreams: str) -> None:
    """The client has larger ones than the upstream."""
    more = {"alternate-exchange": "x" * 300}
    rewriter = Growing(more)
    play = fresh(*upstreams, rewriters={"b": rewriter}, frame_min=256)
    play.open(frame_max=1024, link_frame_max={"b": 320})
    unbind = Queue.Unbind(queue="q", exchange="x", routing_key="k")
    for method in (Exchange.Declare(exchange="x"), unbind, Queue.Declare(queue="q")):
        play.open_channel(1)
        play.skip()
        play.client(on(1, method))
        play.expect_links(GOODBYE)
        play.all_links(on(1, Channel.CloseOk()))
        (close,) = play.taken("client")
        assert fields_of(close)["reply_code"] == 406
        assert fields_of(close)["reply_text"].endswith("octets is too large for it")
        play.client(on(1, Channel.CloseOk()))
        play.skip()


@SESSIONS
def test_a_name_and_a_key_that_fit_alone_do_not_fit_together(fresh: Opening, upstreams: str) -> None:
    """The queue's other name is looked at with the rewritten method, before anything is sent."""
    rewriter = MovingAndRenaming()
    play = fresh(*upstreams, rewriters={"b": rewriter}, frame_min=256)
    bind = on(1, Queue.Bind(queue="q" * 100, exchange="x", routing_key="k" * 100))
    play.open(frame_max=1024, link_frame_max={"b": len(bind) + 9})
    play.open_channel(1)
    play.skip()
    play.client(bind)
    play.expect_links(GOODBYE)
    play.skip()


@SESSIONS
def test_a_queue_whose_attributes_and_name_do_not_fit_together(fresh: Opening, upstreams: str) -> None:
    """Nor does it become one of those that are to be deleted at the end."""

    class Growing(MovingAndRenaming):
        def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
            return QueueAttributes(auto_delete=False, arguments={"more": "x" * 200})

    play = fresh(*upstreams, rewriters={"b": Growing()}, frame_min=256, emulate="b")
    declare = on(1, Queue.Declare(queue="q", auto_delete=True, nowait=True))
    play.open(frame_max=1024, link_frame_max={"b": len(declare) + 214})
    play.open_channel(1)
    play.skip()
    play.client(declare)
    play.expect_links(GOODBYE)
    play.all_links(on(1, Channel.CloseOk()))
    (close,) = play.taken("client")
    assert fields_of(close)["reply_code"] == 406
    assert fields_of(close)["reply_text"].endswith("octets is too large for it")
    play.client(on(1, Channel.CloseOk()), on(0, Connection.Close(200, "bye", 0, 0)))
    assert not any(action.startswith("DrainLink") for action in play.taken_actions())
    play.skip()


def test_on_a_channel_that_is_closing_nobody_is_asked(opened: Opening) -> None:
    rewriter = Moving()
    play = rewriting(opened, "b", rewriter)
    play.client(channel_close(1, 200, "bye"), on(1, LONG))
    play.expect_link("b", channel_close(1, 200, "bye"), on(1, LONG))
    assert not rewriter.asked


@SESSIONS
def test_a_channel_that_is_not_open_is_that_mistake_first(opened: Opening, upstreams: str) -> None:
    play = rewriting(opened, upstreams)
    play.client(on(2, LONG))
    text = "CHANNEL_ERROR - expected 'channel.open', got exchange.bind on channel 2 that is not open"
    play.expect_client(connection_close(504, text, Exchange.Bind))
    play.skip()


@SESSIONS
def test_a_method_that_cannot_be_read_is_the_clients_mistake(opened: Opening, upstreams: str) -> None:
    play = rewriting(opened, upstreams)
    octets = on(1, Queue.Unbind(queue="q", exchange="x", routing_key="k"))
    play.client(octets.replace(b"\x01k", b"\x01\xff"))
    text = "FRAME_ERROR - cannot decode queue.unbind: routing_key is not UTF-8"
    play.expect_client(connection_close(501, text, Queue.Unbind))
    play.skip()
