"""The method table against the specification's and RabbitMQ's own words."""

from __future__ import annotations

import pytest

from trabbits.wire import constants
from trabbits.wire.methods import CLIENT_METHODS, CONTENT_METHODS, METHODS, SERVER_METHODS, name_of

#: name, index, reply names, nowait bit, client may send, server may send
ROWS = [
    ("connection.start", 0x000A000A, ["connection.start-ok"], None, False, True),
    ("connection.start-ok", 0x000A000B, [], None, True, False),
    ("connection.tune-ok", 0x000A001F, [], None, True, False),
    ("connection.open-ok", 0x000A0029, [], None, False, True),
    ("connection.close", 0x000A0032, ["connection.close-ok"], None, True, True),
    ("connection.blocked", 0x000A003C, [], None, False, True),
    ("connection.update-secret", 0x000A0046, ["connection.update-secret-ok"], None, True, False),
    ("channel.flow-ok", 0x00140015, [], None, True, True),
    ("access.request", 0x001E000A, ["access.request-ok"], None, True, False),
    ("exchange.declare", 0x0028000A, ["exchange.declare-ok"], 4, True, False),
    ("exchange.delete", 0x00280014, ["exchange.delete-ok"], 1, True, False),
    ("exchange.bind", 0x0028001E, ["exchange.bind-ok"], 0, True, False),
    ("exchange.unbind", 0x00280028, ["exchange.unbind-ok"], 0, True, False),
    ("queue.declare", 0x0032000A, ["queue.declare-ok"], 4, True, False),
    ("queue.bind", 0x00320014, ["queue.bind-ok"], 0, True, False),
    ("queue.purge", 0x0032001E, ["queue.purge-ok"], 0, True, False),
    ("queue.delete", 0x00320028, ["queue.delete-ok"], 2, True, False),
    ("queue.unbind", 0x00320032, ["queue.unbind-ok"], None, True, False),
    ("basic.qos", 0x003C000A, ["basic.qos-ok"], None, True, False),
    ("basic.consume", 0x003C0014, ["basic.consume-ok"], 3, True, False),
    ("basic.cancel", 0x003C001E, ["basic.cancel-ok"], 0, True, True),
    ("basic.publish", 0x003C0028, [], None, True, False),
    ("basic.return", 0x003C0032, [], None, False, True),
    ("basic.deliver", 0x003C003C, [], None, False, True),
    ("basic.get", 0x003C0046, ["basic.get-ok", "basic.get-empty"], None, True, False),
    ("basic.get-empty", 0x003C0048, [], None, False, True),
    ("basic.ack", 0x003C0050, [], None, True, True),
    ("basic.reject", 0x003C005A, [], None, True, False),
    ("basic.recover-async", 0x003C0064, [], None, True, False),
    ("basic.nack", 0x003C0078, [], None, True, True),
    ("basic.credit", 0x003C00C8, ["basic.credit-ok"], None, True, False),
    ("basic.credit-drained", 0x003C00CA, [], None, False, True),
    ("confirm.select", 0x0055000A, ["confirm.select-ok"], 0, True, False),
    ("tx.commit-ok", 0x005A0015, [], None, False, True),
]


@pytest.mark.parametrize(("name", "index", "replies", "nowait_bit", "client", "server"), ROWS, ids=str)
def test_a_method_is_known_as_the_specification_has_it(
    name: str, index: int, replies: list[str], nowait_bit: int | None, client: bool, server: bool
) -> None:
    """Name, reply, nowait bit and senders are those of the specification."""
    info = METHODS[index]
    assert (info.name, info.index, name_of(index)) == (name, index, name)
    assert (info.class_id, info.method_id) == (index >> 16, index & 0xFFFF)
    assert [name_of(reply) for reply in info.replies] == replies
    assert info.reply == (info.replies[0] if replies else None)
    assert info.synchronous == bool(replies)
    assert info.nowait_bit == nowait_bit
    assert (index in CLIENT_METHODS, index in SERVER_METHODS) == (client, server)


def test_every_method_of_rabbitmq_is_known() -> None:
    """RabbitMQ 3.10 decodes 69 methods in 8 classes."""
    assert len(METHODS) == 69
    assert {info.class_id for info in METHODS.values()} == {10, 20, 30, 40, 50, 60, 85, 90}


def test_the_named_constants_are_the_table() -> None:
    """Each index in `constants` is in the table under the same name."""
    classes = {info.name.partition(".")[0].upper() for info in METHODS.values()}
    named = {
        value: name
        for name, value in vars(constants).items()
        if name.partition("_")[0] in classes and isinstance(value, int) and value > 0xFFFF
    }
    assert len(named) == 66
    for index, name in named.items():
        assert METHODS[index].name.upper().replace(".", "_").replace("-", "_") == name


def test_content_follows_four_methods() -> None:
    """Only these four carry content."""
    assert {name_of(index) for index in CONTENT_METHODS} == {
        "basic.publish",
        "basic.return",
        "basic.deliver",
        "basic.get-ok",
    }
    assert all(METHODS[index].has_content for index in CONTENT_METHODS)


def test_every_method_has_a_sender() -> None:
    """No method is nobody's."""
    assert set(METHODS) == CLIENT_METHODS | SERVER_METHODS


def test_bits_share_one_octet() -> None:
    """No method has bits in two places or more than eight: the peeks and the codec rely on it."""
    for info in METHODS.values():
        kinds = [kind for _, kind in info.fields]
        positions = [position for position, kind in enumerate(kinds) if kind == "bit"]
        assert positions == list(range(positions[0], positions[0] + len(positions))) if positions else True
        assert len(positions) <= 8


def test_an_unknown_method_is_named_by_its_numbers() -> None:
    """Nothing better can be said."""
    assert name_of(0x000A0063) == "class 10 method 99"


@pytest.mark.parametrize("index", [0x00140029, 0x000A0033, 0x005A0015, 0x000A003D])
def test_methods_without_arguments_are_empty(index: int) -> None:
    """close-ok and the like have no fields."""
    assert METHODS[index].is_empty


def test_methods_with_arguments_are_not_empty() -> None:
    """basic.ack has fields."""
    assert not METHODS[0x003C0050].is_empty
