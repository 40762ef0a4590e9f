"""Which field of which method is a queue's name, and frames with another string in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base, commands, frame

from trabbits.wire import queue_names
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS
from trabbits.wire.queue_names import (
    binding_key_at,
    client_queue_at,
    link_queue_at,
    short_string,
    with_short_string,
)

Basic, Channel, Exchange, Queue = commands.Basic, commands.Channel, commands.Exchange, commands.Queue

#: Methods, and the name of the field that is a queue's name.
OF_CLIENTS: list[tuple[base.Frame, str]] = [
    (Queue.Declare(queue="some", durable=True, arguments={"x": 1}), "queue"),
    (Queue.Declare(queue="", passive=True), "queue"),
    (Queue.Bind(queue="some", exchange="x", routing_key="k", nowait=True, arguments={"a": "b"}), "queue"),
    (Queue.Unbind(queue="some", exchange="x", routing_key="k", arguments={"a": "b"}), "queue"),
    (Queue.Purge(queue="some", nowait=True), "queue"),
    (Queue.Delete(queue="some", if_unused=True, if_empty=True), "queue"),
    (Basic.Consume(queue="some", consumer_tag="tag", no_ack=True, arguments={"x": 1}), "queue"),
    (Basic.Get(queue="some", no_ack=True), "queue"),
    (Basic.Publish(exchange="", routing_key="some", mandatory=True), "routing_key"),
]
OF_LINKS: list[tuple[base.Frame, str]] = [
    (Queue.DeclareOk("some", 5, 7), "queue"),
    (Basic.Deliver("tag", 9, True, "", "some"), "routing_key"),
    (Basic.Deliver("", 9, True, "", "some"), "routing_key"),
    (Basic.GetOk(9, True, "", "some", 3), "routing_key"),
    (Basic.Return(312, "NO_ROUTE", "", "some"), "routing_key"),
]
#: Messages of other exchanges: their routing keys are none of queues.
ELSEWHERE: list[base.Frame] = [
    Basic.Publish(exchange="x", routing_key="some"),
    Basic.Deliver("tag", 9, True, "x", "some"),
    Basic.GetOk(9, True, "x", "some", 3),
    Basic.Return(312, "NO_ROUTE", "x", "some"),
]


def name_of(value: object) -> str:
    return value.name if isinstance(value, base.Frame) else str(value)


def octets(method: base.Frame) -> bytes:
    return frame.marshal(method, 5)


def decoded(raw: bytes) -> base.Frame:
    _, channel, method = frame.unmarshal(raw)
    assert channel == 5
    assert isinstance(method, base.Frame)
    return method


@pytest.mark.parametrize(("method", "field"), OF_CLIENTS, ids=name_of)
@pytest.mark.parametrize("name", ["", "other name", "n" * 255])
def test_the_queue_of_a_clients_method_is_exchanged_and_nothing_else(method: base.Frame, field: str, name: str) -> None:
    raw = octets(method)
    at = client_queue_at(method.index, raw)
    assert at is not None
    assert short_string(raw, at)[0].decode() == getattr(method, field)
    changed = decoded(with_short_string(raw, at, name.encode()))
    assert dict(changed) == {**dict(method), field: name}
    assert link_queue_at(method.index, raw) is None


@pytest.mark.parametrize(("method", "field"), OF_LINKS, ids=name_of)
@pytest.mark.parametrize("name", ["", "other name", "n" * 255])
def test_the_queue_of_a_brokers_method_is_exchanged_and_nothing_else(method: base.Frame, field: str, name: str) -> None:
    raw = octets(method)
    at = link_queue_at(method.index, raw)
    assert at is not None
    assert short_string(raw, at)[0].decode() == getattr(method, field)
    changed = decoded(with_short_string(raw, at, name.encode()))
    assert dict(changed) == {**dict(method), field: name}
    assert client_queue_at(method.index, raw) is None


@pytest.mark.parametrize("method", ELSEWHERE, ids=name_of)
def test_keys_of_other_exchanges_name_no_queue(method: base.Frame) -> None:
    raw = octets(method)
    assert client_queue_at(method.index, raw) is None
    assert link_queue_at(method.index, raw) is None


def test_no_other_method_names_a_queue() -> None:
    """By pamqp's own names of fields: whoever has a queue is in one of the tables above."""
    with_queue = {info.index for info in METHODS.values() if any(field == "queue" for field, _ in info.fields)}
    tables = {method.index for method, field in (*OF_CLIENTS, *OF_LINKS) if field == "queue"}
    assert with_queue == tables


QUICK = [
    (queue_names.publish_names_queue, Basic.Publish),
    (queue_names.deliver_names_queue, Basic.Deliver),
    (queue_names.get_ok_names_queue, Basic.GetOk),
    (queue_names.return_names_queue, Basic.Return),
]


@pytest.mark.parametrize(("quick", "kind"), QUICK, ids=["publish", "deliver", "get-ok", "return"])
def test_the_quick_look_agrees(quick: object, kind: type[base.Frame]) -> None:
    """Wherever in a chunk the frame is."""
    methods = [method for method, _ in (*OF_CLIENTS, *OF_LINKS)] + ELSEWHERE
    found = [method for method in methods if isinstance(method, kind)]
    assert len(found) > 1
    for method in found:
        chunk = b"before" + octets(method) + b"behind"
        assert callable(quick)
        assert quick(chunk, 6) is (dict(method)["exchange"] == "")


def test_a_binding_that_leaves_both_to_the_broker() -> None:
    for kind in (Queue.Bind, Queue.Unbind):
        raw = octets(kind(queue="", exchange="amq.direct", routing_key=""))
        at = binding_key_at(kind.index, raw)
        assert at is not None
        assert dict(decoded(with_short_string(raw, at, b"k")))["routing_key"] == "k"
        assert binding_key_at(kind.index, octets(kind(queue="q", exchange="x", routing_key=""))) is None
        assert binding_key_at(kind.index, octets(kind(queue="", exchange="x", routing_key="k"))) is None
    assert binding_key_at(Queue.Purge.index, octets(Queue.Purge(queue=""))) is None


CUT = [method for method, _ in (*OF_CLIENTS, *OF_LINKS)]


@given(st.sampled_from(CUT), st.integers(0, 300), st.integers(0, 255))
def test_strings_that_do_not_fit_are_refused(method: base.Frame, cut: int, length: int) -> None:
    """Nothing outside of a frame is ever read, whatever its lengths say: a violation, or an offset inside."""
    raw = bytearray(octets(method))
    at = min(11 + cut, len(raw) - 2)
    raw[at] = length
    whole = bytes(raw)
    for find in (client_queue_at, link_queue_at, binding_key_at):
        try:
            found = find(method.index, whole)
        except Violation:
            continue
        assert found is None or found + 1 + whole[found] < len(whole)


def test_a_string_that_no_field_can_hold_is_our_mistake() -> None:
    raw = octets(Queue.Purge(queue="q"))
    with pytest.raises(ValueError, match="256 octets"):
        with_short_string(raw, 13, b"n" * 256)
