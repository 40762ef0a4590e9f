"""`QueueNames`: which names a renamer is asked about, what becomes of frames and texts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base
from zope.interface import implementer

from tests.session.frames import Basic, Channel, Queue, channel_close, decoded, on
from trabbits.interfaces import IQueueRenamer, QueueAttributes, QueueDeclare
from trabbits.session.renaming import NAMES_MAX, QueueNames, UnusableName
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import method_frame


@implementer(IQueueRenamer)
class Prefixed:
    """Puts the same in front of every name; rewrites nothing."""

    def __init__(self, prefix: str = "new.") -> None:
        self.prefix = prefix
        self.asked: list[str] = []

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        """See `IQueueAttributeRewriter`."""
        return QueueAttributes()

    def renamed(self, queue: str) -> str:
        """See `IQueueRenamer`."""
        self.asked.append(queue)
        return self.prefix + queue

    def original(self, queue: str) -> str:
        """See `IQueueRenamer`."""
        self.asked.append(queue)
        return queue.removeprefix(self.prefix)


class Muddled(Prefixed):
    """One that cannot undo what it does."""

    def original(self, queue: str) -> str:
        """See `IQueueRenamer`."""
        return "something"


def names(renamer: IQueueRenamer | None = None, frame_max: int = 4096) -> QueueNames:
    return QueueNames(renamer or Prefixed(), "b", frame_max, frame_max, lambda entry, **fields: None)


def up(method: base.Frame, by: QueueNames | None = None) -> dict[str, Any]:
    return dict(decoded((by or names()).frame_for_link(on(1, method))))


def down(method: base.Frame) -> dict[str, Any]:
    return dict(decoded(names().frame_for_client(method.index, on(1, method))))


@given(st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) <= 200))
def test_names_there_and_back(queue: str) -> None:
    found = names()
    assert found.original(found.renamed(queue.encode())) == queue.encode()


KEPT = [b"", b"amq.rabbitmq.reply-to", b"amq.rabbitmq.reply-to.g1h2.key", b"amq.gen-abc", b"trabbits.gen-abc", b"\xff"]


@pytest.mark.parametrize("queue", KEPT)
def test_a_renamer_is_never_asked_about_these(queue: bytes) -> None:
    renamer = Prefixed()
    found = names(renamer)
    assert found.renamed(queue) == found.original(queue) == queue
    assert not renamer.asked


@pytest.mark.parametrize("queue", [b"new.", b"new.amq.gen-x", b"new.trabbits.gen-x", b"other"])
def test_names_that_come_from_no_client_stay(queue: bytes) -> None:
    """What would become empty or a name that is never asked about is none of a client."""
    assert names().original(queue) == queue


def test_names_are_remembered_and_forgotten() -> None:
    renamer = Prefixed()
    found = names(renamer)
    for _ in range(3):
        found.renamed(b"q")
    assert renamer.asked == ["q", "new.q"]
    for number in range(NAMES_MAX):
        found.renamed(b"%d" % number)
        found.original(b"%d" % number)
    assert max(len(found._renamed), len(found._original)) <= NAMES_MAX
    renamer.asked.clear()
    found.renamed(b"q")
    assert renamer.asked


@pytest.mark.parametrize(
    ("renamer", "queue", "text"),
    [
        (Prefixed(), "n" * 252, "would have 256 octets, 255 are possible"),
        (Prefixed("ö"), "ö" * 127, "would have 256 octets"),
        (Prefixed("amq."), "q", "'amq.q' for queue 'q' is reserved"),
        (Prefixed("trabbits.gen-"), "q", "'trabbits.gen-q' for queue 'q' is reserved"),
        (Muddled(), "q", "upstream 'b' renames queues, and its name 'new.q' for queue 'q' means queue 'something'"),
    ],
)
def test_names_that_cannot_be_are_refused(renamer: Prefixed, queue: str, text: str) -> None:
    purge = Queue.Purge()
    purge.queue = queue  # pamqp's constructor knows only names of ASCII
    for method in (purge, Basic.Publish(exchange="", routing_key=queue)):
        with pytest.raises(UnusableName, match=text) as caught:
            names(renamer).frame_for_link(method_frame(1, method))
        assert caught.value.code == 406


def test_a_method_that_grows_too_large_is_refused() -> None:
    declare = on(1, Queue.Declare(queue="q", arguments={"x": "y" * 100}))
    assert names(frame_max=len(declare) + 4).frame_for_link(declare)
    with pytest.raises(UnusableName, match=r"a method of \d+ octets is too large"):
        names(frame_max=len(declare) + 3).frame_for_link(declare)


# Dead letters


LETTERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"x-dead-letter-exchange": "", "x-max-length": 5, "x-dead-letter-routing-key": "dead"},
        {"x-dead-letter-exchange": "", "x-max-length": 5, "x-dead-letter-routing-key": "new.dead"},
    ),
    *(
        (arguments, arguments)
        for arguments in (
            {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "dead"},
            {"x-dead-letter-exchange": ""},
            {"x-dead-letter-routing-key": "dead"},
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": ""},
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": 5},
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "amq.rabbitmq.reply-to.x.y"},
        )
    ),
]


@pytest.mark.parametrize(("arguments", "wanted"), LETTERS)
def test_dead_letters_for_a_queue_find_it(arguments: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = up(Queue.Declare(queue="q", arguments=arguments))
    assert found["arguments"] == wanted
    assert found["queue"] == "new.q"


def test_of_two_entries_of_one_name_the_first_one_counts() -> None:
    """As for RabbitMQ, and the second is dropped where one is changed."""
    exchange, key = b"\x16x-dead-letter-exchangeS\0\0\0\0", b"\x19x-dead-letter-routing-keyS\0\0\0"
    table = exchange + key + b"\x01a" + key + b"\x01b" + b"\x16x-dead-letter-exchangeS\0\0\0\x01x"
    method = b"\0\x32\0\x0a\0\0\x01q\0" + len(table).to_bytes(4, "big") + table
    frame = b"\x01\0\x01" + len(method).to_bytes(4, "big") + method + b"\xce"
    changed: Any = decode_method(names().frame_for_link(frame))
    assert changed.arguments["x-dead-letter-routing-key"] == "new.a"


# Bindings without queue and key


def test_a_binding_that_leaves_both_to_the_broker_gets_the_clients_key() -> None:
    found = names()
    assert up(Queue.Declare(queue="q"), found)["queue"] == "new.q"
    for kind in (Queue.Bind, Queue.Unbind):
        changed = up(kind(queue="", exchange="amq.direct", routing_key=""), found)
        assert (changed["queue"], changed["routing_key"]) == ("", "q")
        changed = up(kind(queue="", exchange="amq.direct", routing_key="k"), found)
        assert (changed["queue"], changed["routing_key"]) == ("", "k")
        changed = up(kind(queue="q", exchange="amq.direct", routing_key=""), found)
        assert (changed["queue"], changed["routing_key"]) == ("new.q", "")


def test_the_queue_declared_last_belongs_to_its_channel() -> None:
    found = names()
    found.frame_for_link(on(2, Queue.Declare(queue="other")))
    bind = Queue.Bind(queue="", exchange="x", routing_key="")
    assert up(bind, found)["routing_key"] == ""
    up(Queue.Declare(queue="q"), found)
    up(Queue.Declare(queue="", passive=True), found)
    assert up(bind, found)["routing_key"] == "q"
    found.frame_for_link(on(1, Channel.Open()))
    assert up(bind, found)["routing_key"] == ""


# Texts

TEXTS = [
    ("NOT_FOUND - no queue 'new.q' in vhost '/'", "NOT_FOUND - no queue 'q' in vhost '/'"),
    ("NOT_FOUND - no queue 'q' in vhost '/'", "NOT_FOUND - no queue 'q' in vhost '/'"),
    (
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'new.a' in vhost '/': received 'true'",
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'a' in vhost '/': received 'true'",
    ),
    ("queue 'new.a' in vhost '/' and queue 'new.b' in vhost 'v'", "queue 'a' in vhost '/' and queue 'b' in vhost 'v'"),
    ("NOT_FOUND - no queue 'new.it's' in vhost '/'", "NOT_FOUND - no queue 'it's' in vhost '/'"),
    ("NOT_FOUND - no queue 'new.nnnn...", "NOT_FOUND - no queue 'nnnn..."),
    ("NOT_FOUND - no exchange 'new.q' in vhost '/'", "NOT_FOUND - no exchange 'new.q' in vhost '/'"),
    ("queue 'new.", "queue 'new."),
]


@pytest.mark.parametrize(("text", "wanted"), TEXTS)
def test_texts_of_the_broker_have_the_clients_names(text: str, wanted: str) -> None:
    assert names().text_for_client(text) == wanted
    close = channel_close(1, 404, text, Queue.Purge)
    assert names().frame_for_client(Channel.Close.index, close) == channel_close(1, 404, wanted, Queue.Purge)


def test_a_renamer_that_fails_costs_no_error_text() -> None:
    class Broken(Prefixed):
        def original(self, queue: str) -> str:
            raise LookupError

    text = "NOT_FOUND - no queue 'new.q' in vhost '/'"
    assert names(Broken()).text_for_client(text) == text


@pytest.mark.parametrize(
    ("method", "field", "wanted"),
    [
        (Queue.DeclareOk("new.q", 1, 2), "queue", "q"),
        (Basic.Deliver("new.tag", 1, False, "", "new.q"), "routing_key", "q"),
        (Basic.Deliver("new.tag", 1, False, "x", "new.q"), "routing_key", "new.q"),
        (Basic.Return(312, "NO_ROUTE", "", "new.q"), "routing_key", "q"),
        (Basic.GetOk(1, False, "", "new.q", 3), "routing_key", "q"),
    ],
)
def test_frames_for_the_client(method: base.Frame, field: str, wanted: str) -> None:
    assert down(method) == {**dict(method), field: wanted}


def test_what_names_no_queue_is_the_same_octets() -> None:
    found = names()
    for method in (Channel.Open(), Basic.Ack(1), Basic.Publish(exchange="x", routing_key="q"), Queue.Purge(queue="")):
        raw = on(1, method)
        assert found.frame_for_link(raw) is raw
    for reply in (Queue.DeclareOk("q", 0, 0), Queue.PurgeOk(1), Basic.Deliver("t", 1, False, "", "q")):
        raw = on(1, reply)
        assert found.frame_for_client(reply.index, raw) is raw
