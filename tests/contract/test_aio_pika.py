"""aio-pika through the target: publishing with confirms, consuming, a robust connection, RPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.patterns import RPC

from tests.contract.relay import Relay
from tests.contract.target import HOST, Target, unique

LIMIT = 20


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Runs a scenario, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT):
            await scenario()

    asyncio.run(bounded())


def test_confirmed_messages_are_consumed_from_both_upstreams(target: Target) -> None:
    async def scenario() -> None:
        connection = await aio_pika.connect(target.url)
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            await channel.set_qos(prefetch_count=5)
            exchange = await channel.declare_exchange(unique("aio"), aio_pika.ExchangeType.TOPIC, auto_delete=True)
            queue = await channel.declare_queue(unique("aio"), auto_delete=True)
            for upstream in "ab":
                await queue.bind(exchange, f"{upstream}.#")
            messages = [aio_pika.Message(f"{number}".encode(), headers={"n": number}) for number in range(100)]
            await asyncio.gather(
                *(
                    exchange.publish(message, target.key_for("ab"[number % 2], "work"))
                    for number, message in enumerate(messages)
                )
            )
            seen: set[int] = set()
            async with queue.iterator() as incoming:
                async for message in incoming:
                    async with message.process():
                        number = message.headers["n"]
                        assert isinstance(number, int)
                        assert message.body == f"{number}".encode()
                        seen.add(number)
                    if len(seen) == 100:
                        break
            assert (await channel.declare_queue(queue.name, auto_delete=True)).declaration_result.message_count == 0

    run(scenario)


def test_an_unroutable_message_raises(target: Target) -> None:
    async def scenario() -> None:
        connection = await aio_pika.connect(target.url)
        async with connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            for upstream in "ab":
                with pytest.raises(aio_pika.exceptions.DeliveryError):
                    await channel.default_exchange.publish(
                        aio_pika.Message(b"lost"), target.key_for(upstream, unique("nobody"))
                    )

    run(scenario)


def test_a_channel_error_carries_its_text(target: Target) -> None:
    async def scenario() -> None:
        connection = await aio_pika.connect(target.url)
        async with connection:
            channel = await connection.channel()
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity, match="no queue 'not-there' in vhost '/'"):
                await channel.declare_queue("not-there", passive=True)
            fresh = await connection.channel()
            await fresh.declare_queue(exclusive=True)

    run(scenario)


def test_wrong_credentials_are_reported_as_such(target: Target) -> None:
    async def scenario() -> None:
        with pytest.raises(aio_pika.exceptions.AMQPConnectionError, match="ACCESS_REFUSED"):
            await aio_pika.connect(target.url.replace("guest:guest", "guest:wrong"))

    run(scenario)


def test_a_robust_connection_consumes_again_after_the_network_broke(target: Target) -> None:
    async def scenario() -> None:
        with Relay(f"{HOST}:{target.address.port}") as relay:
            url = f"amqp://guest:guest@{HOST}:{relay.port}/%2f?reconnect_interval=0.1"
            connection = await aio_pika.connect_robust(url)
            async with connection:
                channel = await connection.channel()
                exchange = await channel.declare_exchange(unique("robust"), aio_pika.ExchangeType.TOPIC)
                queue = await channel.declare_queue(unique("robust"))
                for upstream in "ab":
                    await queue.bind(exchange, f"{upstream}.#")
                seen: asyncio.Queue[bytes] = asyncio.Queue()

                async def receive(message: AbstractIncomingMessage) -> None:
                    await seen.put(message.body)
                    await message.ack()

                await queue.consume(receive)
                for attempt in ("before", "after"):
                    for upstream in "ab":
                        body = f"{upstream} {attempt}".encode()
                        await exchange.publish(aio_pika.Message(body), target.key_for(upstream, "key"))
                        while await seen.get() != body:
                            pass  # one from before may come again: its ack was on its way
                    if attempt == "before":
                        again = asyncio.Event()
                        connection.reconnect_callbacks.add(lambda *_, again=again: again.set())
                        relay.cut()
                        await again.wait()
                await queue.delete(if_unused=False)
                await exchange.delete()

    run(scenario)


def test_remote_procedure_calls_of_aio_pika(target: Target) -> None:
    """RPC with a server-named reply queue on the caller's side."""

    def doubling() -> Callable[..., Awaitable[int]]:
        async def double(*, number: int) -> int:
            return 2 * number

        return double

    async def scenario() -> None:
        async with await aio_pika.connect(target.url) as serving, await aio_pika.connect(target.url) as calling:
            server = await RPC.create(await serving.channel())
            client = await RPC.create(await calling.channel())
            for upstream in "ab":
                name = target.key_for(upstream, unique("double"))
                await server.register(name, doubling(), auto_delete=True)
                answers = await asyncio.gather(*(client.call(name, {"number": number}) for number in range(10)))
                assert answers == [2 * number for number in range(10)]

    run(scenario)
