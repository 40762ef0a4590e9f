"""Programs of a few methods that two brokers are to answer alike; see `tests.contract.test_same_words`.

A program is a list of steps on channel 1: methods, whose replies are waited for, and octets, whose are not.  It may use
the queues p and q and the exchange x, which are gone afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from pamqp import base, commands

from trabbits.testing.raw_client import BODY, HEADER, METHOD, content_header, encode_methods, raw_frame

B, C, E, Q, X = commands.Basic, commands.Confirm, commands.Exchange, commands.Queue, commands.Tx
#: The end of a program that has a mistake on another channel: connection.close is waited for.
CLOSE = None


@frozen
class Awaited:
    """A message that comes to a queue by itself: basic.get is repeated until it is there."""

    queue: str


Step = base.Frame | bytes | Awaited | None


def publish(key: str = "", exchange: str = "", body: bytes = b"", properties: bytes = b"\0\0", **options: Any) -> bytes:
    """A message as octets."""
    octets = encode_methods(B.Publish(exchange=exchange, routing_key=key, **options), channel=1)
    octets += raw_frame(HEADER, 1, content_header(len(body), properties))
    return octets + (raw_frame(BODY, 1, body) if body else b"")


def expiring(text: bytes) -> bytes:
    return b"\x01\x00" + bytes([len(text)]) + text


def from_user(text: bytes) -> bytes:
    return b"\x00\x10" + bytes([len(text)]) + text


def answering(text: bytes) -> bytes:
    return b"\x02\x00" + bytes([len(text)]) + text


def carrying(table: dict[str, Any]) -> bytes:
    """Properties with headers."""
    frame = encode_methods(Q.Declare(queue="", arguments=table), channel=1)
    return b"\x20\x00" + frame[15:-1]


def named(queue: str) -> commands.Queue.Declare:
    """A declare of a name that pamqp would not let pass."""
    method = Q.Declare()
    method.queue = queue
    return method


def declared(**arguments: Any) -> commands.Queue.Declare:
    return Q.Declare(queue="q", arguments={name.replace("_", "-"): value for name, value in arguments.items()})


def dying(queue: str, exchange: str = "", key: str | None = None, **arguments: Any) -> commands.Queue.Declare:
    """A queue with a dead letter exchange."""
    table: dict[str, Any] = {"x-dead-letter-exchange": exchange}
    if key is not None:
        table["x-dead-letter-routing-key"] = key
    table.update((name.replace("_", "-"), value) for name, value in arguments.items())
    return Q.Declare(queue=queue, arguments=table)


Q_DECLARE, X_DECLARE = Q.Declare(queue="q"), E.Declare(exchange="x", exchange_type="fanout")
CONSUME, GET = B.Consume(queue="q", consumer_tag="t"), B.Get(queue="q")
MESSAGE = publish("q", body=b"hello")
PUBLISH = encode_methods(B.Publish(), channel=1)

PROGRAMS: dict[str, Sequence[Step]] = {
    # queues
    "declare twice": [Q_DECLARE, Q_DECLARE],
    "declare a server-named queue": [Q.Declare(exclusive=True)],
    "declare with line ends": [named("q\r\n"), Q.Declare(queue="q", passive=True)],
    "declare durable and exclusive": [Q.Declare(queue="q", durable=True, exclusive=True), Q.Declare(queue="q")],
    "declare a reserved name": [Q.Declare(queue="amq.mine")],
    "declare passively what is not there": [Q.Declare(queue="q", passive=True)],
    "declare passively without a name": [Q.Declare(passive=True)],
    "redeclare durable": [Q_DECLARE, Q.Declare(queue="q", durable=True)],
    "redeclare auto-delete": [Q_DECLARE, Q.Declare(queue="q", auto_delete=True)],
    "redeclare with an argument": [Q_DECLARE, declared(x_max_length=5)],
    "redeclare without an argument": [declared(x_max_length=5), Q_DECLARE],
    "redeclare with another value": [declared(x_message_ttl=5000), declared(x_message_ttl=6000)],
    "redeclare with another type": [declared(x_max_length=5), declared(x_max_length="5")],
    "redeclare with another text": [declared(x_overflow="drop-head"), declared(x_overflow="reject-publish")],
    "redeclare with an unknown argument": [Q_DECLARE, declared(x_unknown=5)],
    "redeclare classic": [Q_DECLARE, declared(x_queue_type="classic")],
    "redeclare quorum": [Q_DECLARE, declared(x_queue_type="quorum")],
    **{
        f"declare {name} {value!r}": [declared(**{name: value})]
        for name, value in [
            ("x_message_ttl", -1),
            ("x_message_ttl", "soon"),
            ("x_message_ttl", True),
            ("x_message_ttl", 10**15),
            ("x_message_ttl", 0),
            ("x_expires", 0),
            ("x_expires", -5),
            ("x_expires", "soon"),
            ("x_max_length", -1),
            ("x_max_length", "many"),
            ("x_max_length_bytes", -1),
            ("x_overflow", "explode"),
            ("x_overflow", 1),
            ("x_max_priority", 256),
            ("x_queue_type", "strange"),
            ("x_queue_type", 1),
            ("x_queue_mode", "strange"),
            ("x_single_active_consumer", "yes"),
            ("x_dead_letter_exchange", 1),
            ("x_dead_letter_routing_key", "k"),
            ("x_queue_version", 3),
        ]
    },
    "declare with a dead letter key that no message can have": [dying("q", key="k" * 256)],
    "declare a quorum queue that cannot be": [Q.Declare(queue="q", arguments={"x-queue-type": "quorum"})],
    "declare an exclusive quorum queue": [
        Q.Declare(queue="q", durable=True, exclusive=True, arguments={"x-queue-type": "quorum"})
    ],
    "declare an auto-delete quorum queue": [
        Q.Declare(queue="q", durable=True, auto_delete=True, arguments={"x-queue-type": "quorum"})
    ],
    "declare a server-named quorum queue": [Q.Declare(durable=True, arguments={"x-queue-type": "quorum"})],
    "purge": [Q_DECLARE, MESSAGE, MESSAGE, Q.Purge(queue="q"), Q.Purge(queue="q")],
    "purge what is not there": [Q.Purge(queue="q")],
    "purge without a name": [Q.Purge()],
    "purge the last one declared": [Q_DECLARE, MESSAGE, Q.Purge()],
    "delete": [Q_DECLARE, MESSAGE, Q.Delete(queue="q"), Q.Delete(queue="q")],
    "delete if empty": [Q_DECLARE, MESSAGE, Q.Delete(queue="q", if_empty=True)],
    "delete if unused": [Q_DECLARE, CONSUME, Q.Delete(queue="q", if_unused=True)],
    "delete a consumer's queue": [Q_DECLARE, CONSUME, Q.Delete(queue="q")],
    # exchanges and bindings
    "declare an exchange": [X_DECLARE, X_DECLARE],
    "declare an unknown type": [E.Declare(exchange="x", exchange_type="strange")],
    "declare a reserved exchange": [E.Declare(exchange="amq.mine", exchange_type="fanout")],
    "declare the default exchange": [E.Declare(exchange="", exchange_type="direct")],
    "declare a system exchange": [E.Declare(exchange="amq.topic", exchange_type="topic", durable=True)],
    "declare a system exchange otherwise": [E.Declare(exchange="amq.topic", exchange_type="topic")],
    "declare the exchange passively": [E.Declare(exchange="x", exchange_type="fanout", passive=True)],
    "declare another type": [X_DECLARE, E.Declare(exchange="x", exchange_type="direct")],
    "redeclare an exchange auto-delete": [X_DECLARE, E.Declare(exchange="x", exchange_type="fanout", auto_delete=True)],
    "redeclare an exchange internal": [X_DECLARE, E.Declare(exchange="x", exchange_type="fanout", internal=True)],
    "redeclare with an alternate": [
        X_DECLARE,
        E.Declare(exchange="x", exchange_type="fanout", arguments={"alternate-exchange": "y"}),
    ],
    "declare a number as alternate": [
        E.Declare(exchange="x", exchange_type="fanout", arguments={"alternate-exchange": 1})
    ],
    "delete an exchange": [X_DECLARE, E.Delete(exchange="x"), E.Delete(exchange="x")],
    "delete a system exchange": [E.Delete(exchange="amq.topic")],
    "delete the default exchange": [E.Delete(exchange="")],
    "delete an exchange in use": [
        X_DECLARE, Q_DECLARE, Q.Bind(0, "q", "x", ""), E.Delete(exchange="x", if_unused=True),
    ],
    "bind to nothing": [Q_DECLARE, Q.Bind(0, "q", "x", "")],
    "bind nothing": [X_DECLARE, Q.Bind(0, "q", "x", "")],
    "bind nothing to nothing": [Q.Bind(0, "q", "x", "")],
    "bind without a name": [Q.Bind(0, "", "amq.topic", "")],
    "bind the last one declared": [Q_DECLARE, Q.Bind(0, "", "amq.direct", ""), publish("q", "amq.direct"), GET],
    "bind to the default exchange": [Q_DECLARE, Q.Bind(0, "q", "", "k")],
    "bind with a wrong match": [Q_DECLARE, Q.Bind(0, "q", "amq.headers", "", arguments={"x-match": "some"})],
    "bind with a number as match": [Q_DECLARE, Q.Bind(0, "q", "amq.headers", "", arguments={"x-match": 1})],
    "unbind what is not bound": [Q_DECLARE, Q.Unbind(0, "q", "amq.topic", "k")],
    "unbind nothing": [Q.Unbind(0, "q", "amq.topic", "k")],
    "bind exchanges": [X_DECLARE, Q_DECLARE, Q.Bind(0, "q", "x", ""), E.Bind(0, "x", "amq.topic", "a.*"),
                       publish("a.b", "amq.topic", b"1"), publish("a", "amq.topic", b"2"), GET, GET],
    "bind an exchange that is not there": [E.Bind(0, "x", "amq.topic", "")],
    "bind an exchange to one that is not there": [E.Bind(0, "amq.topic", "x", "")],
    "bind the default exchange": [E.Bind(0, "", "amq.topic", "")],
    "an auto-delete exchange goes with its last binding": [
        E.Declare(exchange="x", exchange_type="fanout", auto_delete=True), Q_DECLARE, Q.Bind(0, "q", "x", ""),
        Q.Unbind(0, "q", "x", ""), E.Declare(exchange="x", passive=True),
    ],
    # publishing
    "publish and get": [Q_DECLARE, MESSAGE, GET, GET],
    "publish to a missing exchange": [publish("k", "x")],
    "publish to an internal exchange": [
        E.Declare(exchange="x", exchange_type="fanout", internal=True), publish("k", "x"),
    ],
    "publish immediately": [publish("q", immediate=True)],
    "publish mandatory": [publish("nobody", body=b"body", mandatory=True), B.Qos()],
    "publish mandatory and empty": [publish("nobody", mandatory=True), B.Qos()],
    "select confirms twice": [C.Select(), C.Select()],
    "publish expiring": [Q_DECLARE, publish("q", properties=expiring(b"60000")), GET],
    **{
        f"publish expiring {text!r}": [publish("q", properties=expiring(text)), B.Qos()]
        for text in (b"soon", b"1a", b"-1", b"", b"+5", b"999999999999999", b" 1", b"1.5")
    },
    "publish as oneself": [Q_DECLARE, publish("q", properties=from_user(b"guest")), GET],
    "publish as somebody else": [publish("q", properties=from_user(b"other")), B.Qos()],
    "publish for an answer nobody waits for": [publish("q", properties=answering(b"amq.rabbitmq.reply-to")), B.Qos()],
    "publish to further keys": [
        Q_DECLARE, publish("nobody", properties=carrying({"CC": ["q"], "BCC": ["p"], "n": 1})), GET,
    ],
    "publish to a text as further keys": [publish("nobody", properties=carrying({"CC": "q"})), B.Qos()],
    "a full queue drops its head": [
        declared(x_max_length=1), publish("q", body=b"1"), publish("q", body=b"2"), GET, GET,
    ],
    "a full queue rejects": [
        declared(x_max_length=1, x_overflow="reject-publish"),
        publish("q", body=b"1"), publish("q", body=b"2"), GET, GET,
    ],
    "a full queue that rejects takes back what it gave": [
        declared(x_max_length=1, x_overflow="reject-publish"), publish("q", body=b"1"), GET,
        publish("q", body=b"2"), B.Nack(1, False, True), GET, GET, GET,
    ],
    "a full queue that drops its head takes back what it gave": [
        declared(x_max_length=1), publish("q", body=b"1"), GET,
        publish("q", body=b"2"), B.Nack(1, False, True), GET, GET,
    ],
    "headers match all": [
        Q_DECLARE, Q.Bind(0, "q", "amq.headers", "", arguments={"a": 1, "b": "x"}),
        publish("", "amq.headers", b"1", carrying({"a": 1, "b": "x"})),
        publish("", "amq.headers", b"2", carrying({"a": 1})), GET, GET,
    ],
    "headers match any": [
        Q_DECLARE, Q.Bind(0, "q", "amq.headers", "", arguments={"x-match": "any", "a": 1, "b": None}),
        publish("", "amq.headers", b"1", carrying({"a": 2})), publish("", "amq.headers", b"2", carrying({"b": 5})),
        publish("", "amq.headers", b"3", carrying({"c": 1})), GET, GET,
    ],
    "headers without arguments": [
        Q_DECLARE, Q.Bind(0, "q", "amq.headers", ""), publish("", "amq.headers", b"1"), GET,
        Q.Bind(0, "q", "amq.headers", "", arguments={"x-match": "any"}), publish("", "amq.headers", b"2"), GET, GET,
    ],
    # consuming and settling
    "consume from nothing": [CONSUME],
    "consume twice under one tag": [Q_DECLARE, CONSUME, CONSUME],
    "consume exclusively twice": [
        Q_DECLARE, B.Consume(queue="q", exclusive=True, consumer_tag="t"), B.Consume(queue="q", consumer_tag="u"),
    ],
    "consume exclusively too late": [Q_DECLARE, CONSUME, B.Consume(queue="q", exclusive=True, consumer_tag="u")],
    "consume with a text as priority": [Q_DECLARE, B.Consume(queue="q", arguments={"x-priority": "high"})],
    "cancel what is not there": [B.Cancel(consumer_tag="t")],
    "consume answers with acks": [B.Consume(queue="amq.rabbitmq.reply-to")],
    "consume answers twice": [
        B.Consume(queue="amq.rabbitmq.reply-to", no_ack=True, consumer_tag="t"),
        B.Consume(queue="amq.rabbitmq.reply-to", no_ack=True, consumer_tag="u"),
    ],
    "declare an answer's queue that is not there": [Q.Declare(queue="amq.rabbitmq.reply-to.x")],
    "get from nothing": [GET],
    "get without a name": [B.Get()],
    "ack an unknown tag": [B.Ack(5), B.Qos()],
    "ack tag 0": [B.Ack(0), B.Qos()],
    "ack everything of nothing": [B.Ack(0, multiple=True), B.Qos()],
    "ack twice": [Q_DECLARE, MESSAGE, GET, B.Ack(1), B.Ack(1), B.Qos()],
    "ack beyond": [Q_DECLARE, MESSAGE, GET, B.Ack(2, multiple=True), B.Qos()],
    "reject an unknown tag": [B.Reject(5), B.Qos()],
    "nack an unknown tag": [B.Nack(5), B.Qos()],
    "requeue": [Q_DECLARE, publish("q", body=b"1"), publish("q", body=b"2"), GET, B.Reject(1, requeue=True), GET],
    "recover": [Q_DECLARE, MESSAGE, GET, B.Recover(requeue=True), GET],
    "recover without requeue": [B.Recover(requeue=False)],
    "recover asynchronously": [raw_frame(METHOD, 1, b"\0\x3c\0\x64\x01"), B.Qos()],
    "qos by size": [B.Qos(prefetch_size=1)],
    # transactions, modes, the channel itself
    "commit nothing": [X.Commit()],
    "roll back nothing": [X.Rollback()],
    "confirms after transactions": [X.Select(), C.Select()],
    "transactions after confirms": [C.Select(), X.Select()],
    "commit": [Q_DECLARE, X.Select(), MESSAGE, GET, X.Commit(), GET, B.Ack(1), X.Rollback(), B.Ack(1), X.Commit()],
    "commit something mandatory": [X.Select(), publish("nobody", mandatory=True), X.Commit()],
    "ack twice in a transaction": [Q_DECLARE, MESSAGE, GET, X.Select(), B.Ack(1), B.Ack(1), X.Commit()],
    "flow": [commands.Channel.Flow(active=True)],
    "flow off": [commands.Channel.Flow(active=False)],
    "open twice": [commands.Channel.Open()],
    "close": [commands.Channel.Close(200, "done", 0, 0)],
    "a reply": [encode_methods(Q.DeclareOk("q", 0, 0), channel=1), B.Qos()],
    "a delivery": [encode_methods(B.GetEmpty(), channel=1), B.Qos()],
    # what a connection is closed for
    "another class of content": [PUBLISH + raw_frame(HEADER, 1, b"\0\x32" + b"\0" * 12)],
    "a body for a header": [PUBLISH + raw_frame(BODY, 1, b"x")],
    "a method for a body": [
        PUBLISH + raw_frame(HEADER, 1, content_header(1)),
        encode_methods(B.Qos(), channel=1),
    ],
    "a body longer than announced": [
        PUBLISH + raw_frame(HEADER, 1, content_header(1)), raw_frame(BODY, 1, b"xy"), raw_frame(BODY, 1, b"z"),
        encode_methods(B.Qos(), channel=1),
    ],
    "a header with a weight": [PUBLISH + raw_frame(HEADER, 1, b"\0\x3c\0\1" + b"\0" * 10)],
    "a header of another class with a weight": [PUBLISH + raw_frame(HEADER, 1, b"\0\x32\0\1" + b"\0" * 10)],
    "a header without properties": [PUBLISH + raw_frame(HEADER, 1, b"\0\x3c" + b"\0" * 10)],
    "a header with half of the flags": [PUBLISH + raw_frame(HEADER, 1, b"\0\x3c" + b"\0" * 11)],
    "a header that is cut off": [PUBLISH + raw_frame(HEADER, 1, b"\0\x3c" + b"\0" * 9)],
    "a cut off header for a method": [raw_frame(HEADER, 1, b"\0\x3c" + b"\0" * 9)],
    "a cut off header for a body": [
        PUBLISH + raw_frame(HEADER, 1, content_header(1)) + raw_frame(HEADER, 1, b"\0\x3c" + b"\0" * 9),
    ],
    "a short method for a header": [PUBLISH + raw_frame(METHOD, 1, b"\0\x32")],
    "a header for a method": [raw_frame(HEADER, 1, content_header(1))],
    "a channel that is not open": [encode_methods(B.Qos(), channel=7), CLOSE],
    "content for a channel that is not open": [
        encode_methods(B.Publish(), channel=7) + raw_frame(HEADER, 7, content_header(0)), CLOSE,
    ],
    "a heartbeat on a channel": [raw_frame(8, 1, b"")],
    "a heartbeat with a payload": [raw_frame(8, 0, b"beat")],
    "a heartbeat with a payload on a channel": [raw_frame(8, 1, b"beat")],
    "an unknown frame": [raw_frame(5, 1, b"what is this")],
    "a short method": [raw_frame(1, 1, b"\0\x32")],
    "a method that is cut off": [raw_frame(1, 1, b"\0\x32\0\x0a\0\0\x09shor")],
    "a method with more": [raw_frame(1, 1, b"\0\x3c\0\x0a\0\0\0\0\0\0\0\0\0")],
    "a publish with more": [raw_frame(1, 1, b"\0\x3c\0\x28\0\0\0\0\0\0") + raw_frame(HEADER, 1, content_header(0))],
    "a name that is no UTF-8": [raw_frame(1, 1, b"\0\x32\0\x0a\0\0\x01\xff\0\0\0\0\0")],
    "a frame that ends wrongly": [raw_frame(1, 1, b"\0\x3c\0\x0a\0\0\0\0\0\0\0")[:-1] + b"\0"],
    "start-ok again": [encode_methods(commands.Connection.StartOk({}, "PLAIN", "", "en_US"), channel=0)],
    "open again": [encode_methods(commands.Connection.Open("/"), channel=0)],
    "a channel's method on channel 0": [encode_methods(B.Qos(), channel=0)],
    "content on channel 0": [raw_frame(HEADER, 0, content_header(0))],
    "broken properties": [Q_DECLARE, publish("q", properties=b"\x80\x00\x09shor"), B.Qos()],
    "broken headers": [Q_DECLARE, publish("q", properties=b"\x20\x00\0\0\0\x03\x01xQ"), B.Qos()],
}  # fmt: skip
