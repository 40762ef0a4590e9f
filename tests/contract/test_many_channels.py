"""Hundreds of channels on one connection, interleaved frame by frame, keep to themselves."""

from __future__ import annotations

import random

from pamqp import commands

from tests.contract.target import Target, unique
from trabbits.testing.raw_client import BODY, HEADER, METHOD, RawClient, content_header, encode_methods, raw_frame

CHANNELS = range(1, 201)
ROUNDS = 3


def prepare(target: Target, client: RawClient, stem: str) -> None:
    """Each channel gets a queue of its own, confirm mode and a consumer."""
    for number in CHANNELS:
        queue = f"{stem}-{number}"
        methods = [
            commands.Channel.Open(),
            commands.Queue.Declare(queue=queue, exclusive=True),
            *(
                commands.Queue.Bind(queue=queue, exchange="amq.direct", routing_key=target.key_for(upstream, queue))
                for upstream in "ab"
            ),
            commands.Confirm.Select(),
            commands.Basic.Consume(queue=queue, consumer_tag=queue),
        ]
        client.send_octets(encode_methods(*methods, channel=number))
    waiting = 6 * len(CHANNELS)
    while waiting:
        _, method = client.receive_method()
        assert not isinstance(method, (commands.Channel.Close, commands.Connection.Close)), dict(method)
        waiting -= 1


def test_two_hundred_channels_publish_and_consume_interleaved(target: Target) -> None:
    client = target.raw(timeout=20)
    stem = unique("many")
    prepare(target, client, stem)
    choose = random.Random(7)
    pending: dict[int, list[bytes]] = {}
    for number in CHANNELS:
        queue = f"{stem}-{number}"
        frames = []
        for index in range(ROUNDS):
            key = target.key_for(choose.choice("ab"), queue)
            body = f"{queue}/{index}".encode()
            publish = commands.Basic.Publish(exchange="amq.direct", routing_key=key)
            frames.append(encode_methods(publish, channel=number))
            frames.append(raw_frame(HEADER, number, content_header(len(body))))
            frames += [raw_frame(BODY, number, body[:5]), raw_frame(BODY, number, body[5:])]
        pending[number] = frames
    stream = []
    while pending:  # one frame of any channel at a time; within a channel they keep their order
        number = choose.choice(list(pending))
        stream.append(pending[number].pop(0))
        if not pending[number]:
            del pending[number]
    client.send_octets(b"".join(stream))

    bodies: dict[int, list[bytes]] = {number: [] for number in CHANNELS}
    tags: dict[int, list[int]] = {number: [] for number in CHANNELS}
    confirmed: dict[int, set[int]] = {number: set() for number in CHANNELS}
    partial: dict[int, bytes] = {}
    while any(len(done) < ROUNDS for done in bodies.values()) or any(len(done) < ROUNDS for done in confirmed.values()):
        received = client.receive()
        number = received.channel
        if received.kind == METHOD:
            method = received.method
            if isinstance(method, commands.Basic.Ack):
                tag = method.delivery_tag or 0
                confirmed[number].update(range(1, tag + 1) if method.multiple else [tag])
            else:
                assert isinstance(method, commands.Basic.Deliver), received
                assert method.consumer_tag == f"{stem}-{number}"
                tags[number].append(method.delivery_tag or 0)
        elif received.kind == HEADER:
            partial[number] = b""
        else:
            partial[number] += received.payload
            if partial[number].endswith((b"/0", b"/1", b"/2")):
                bodies[number].append(partial.pop(number))
    for number in CHANNELS:
        assert sorted(bodies[number]) == [f"{stem}-{number}/{index}".encode() for index in range(ROUNDS)]
        assert tags[number] == [1, 2, 3]
    ack = commands.Basic.Ack(delivery_tag=3, multiple=True)
    client.send_octets(b"".join(encode_methods(ack, channel=number) for number in CHANNELS))
    for number in CHANNELS:
        queue = f"{stem}-{number}"
        assert client.call(commands.Queue.Purge(queue=queue), commands.Queue.PurgeOk, number).message_count == 0
    client.close_politely()


def test_pika_uses_two_hundred_channels_at_once(target: Target) -> None:
    connection = target.connect()
    channels = [connection.channel() for _ in CHANNELS]
    queue = channels[0].queue_declare("", exclusive=True).method.queue
    for channel in channels:
        channel.basic_publish("", queue, b"%d" % channel.channel_number)
    got: set[int] = set()
    for channel in reversed(channels):
        channel.queue_declare(queue, passive=True)
    while len(got) < len(channels):
        _, _, body = channels[len(got)].basic_get(queue, auto_ack=True)
        if body is not None:
            got.add(int(body))
    assert got == {channel.channel_number for channel in channels}
    for channel in channels[::2]:
        channel.close()
    channels[1].queue_declare(queue, passive=True)
