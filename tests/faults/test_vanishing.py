"""Clients that vanish or stop reading in the middle of anything leave no link, timer, socket or memory behind.

The proxy runs in this process, in front of two real nodes or of upstreams that misbehave, so that what is left can be
counted.  The clients run in threads: their sockets are not the reactor's.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from pamqp import commands
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from tests.contract.target import fan_config, plain_config
from tests.faults.embedded import Proxy, State, reactor, resident, until
from tests.faults.fake_upstream import FakeUpstream, Script, never_open, say_nothing, stop_reading
from tests.faults.vanishing import (
    BIG_BODY,
    ENDS,
    STAGES,
    Stage,
    Vanishing,
    after_start_ok,
    after_tune,
    handshake,
    not_reading,
    reset,
    with_everything_before_tune,
    with_requests_before_open_ok,
)
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import encode_publish, eventually

CLIENTS = 500
#: Clients at work at the same time.
THREADS = 16


@pytest.fixture
def errors() -> Iterator[None]:
    """Nothing critical is logged: no bug met, no error left unhandled."""
    seen: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.critical:
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    yield
    gc.collect()
    globalLogPublisher.removeObserver(observe)
    assert [event.get("log_fields") or event.get("log_failure") for event in seen] == []


@pytest.fixture
def pool(errors: None) -> Iterator[ThreadPool]:
    """Threads for clients."""
    pool = ThreadPool(THREADS, THREADS)
    pool.start()
    yield pool
    pool.stop()


@pytest_twisted.async_yield_fixture
async def plain(rabbit_a: RabbitNode) -> AsyncIterator[Proxy]:
    proxy = Proxy(plain_config(rabbit_a))
    yield proxy
    await proxy.stop()


@pytest_twisted.async_yield_fixture
async def fan(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> AsyncIterator[Proxy]:
    proxy = Proxy(fan_config(rabbit_a, rabbit_b))
    yield proxy
    await proxy.stop()


def in_thread(pool: ThreadPool, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
    return deferToThreadPool(reactor, pool, call, *args)


def vanish(proxy: Proxy, vhost: str, stage: Stage, end: Callable[..., None]) -> None:
    """One client, from its first to its last octet."""
    gone = Vanishing.dial(proxy.port, vhost)
    try:
        stage(gone)
        if stage is not_reading:
            eventually(lambda: proxy.is_full(gone.address), 20, "the proxy feels that a client does not read")
        end(gone.client)
    except BaseException as error:
        error.add_note(f"in {stage.__name__} before {end.__name__}")
        raise
    finally:
        gone.client.sock.close()


async def crowd(pool: ThreadPool, clients: list[tuple[Any, ...]]) -> None:
    """All of them, some at a time."""
    await gatherResults([in_thread(pool, vanish, *each) for each in clients], consumeErrors=True)


@pytest_twisted.ensureDeferred
async def test_500_vanishing_clients(
    plain: Proxy, fan: Proxy, rabbit_a: RabbitNode, rabbit_b: RabbitNode, vhost: str, pool: ThreadPool
) -> None:
    """Every stage with every end, through plain and fan sessions, until 500 clients have vanished."""
    kinds = list(itertools.product([plain, fan], [vhost], [*STAGES, not_reading], ENDS))
    # Whatever is made once and kept (threads, caches, the allocator's arenas) is made now.
    before = State.now()
    await crowd(pool, kinds)
    await plain.nothing_is_left(before)
    await fan.nothing_is_left(before)
    memory = resident()
    await crowd(pool, list(itertools.islice(itertools.cycle(kinds), CLIENTS)))
    await plain.nothing_is_left(before)
    await fan.nothing_is_left(before)
    # Less than one read buffer for each: what the allocator keeps varies with how many were there at the same time.
    assert resident() - memory < 40_000_000
    for node in (rabbit_a, rabbit_b):
        assert node.management is not None
        node.management.wait_for(lambda api: not api.connections(vhost), 15, "no connection at the broker")


def fake_config(*upstreams: FakeUpstream) -> dict[str, Any]:
    """One or two upstreams that misbehave."""
    named = [
        {"name": name, "address": each.address, "timeout": "2s"} for name, each in zip("ab", upstreams, strict=False)
    ]
    return {"upstreams": named}


@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize(
    ("script", "stage", "within"),
    [
        (say_nothing, after_start_ok, 1.0),
        (say_nothing, with_everything_before_tune, 5.0),
        (never_open, after_tune, 1.0),
        (never_open, handshake, 1.0),
        (never_open, with_requests_before_open_ok, 5.0),
    ],
)
@pytest_twisted.ensureDeferred
async def test_while_links_are_being_opened(
    links: int, script: Script, stage: Stage, within: float, pool: ThreadPool
) -> None:
    """The attempts are given up when the client goes, or at the latest when the upstreams' time is over.

    A client that has sent requests already is not read until the links are there, so its end is not seen before.
    """
    with FakeUpstream(script) as silent:
        proxy = Proxy(fake_config(*[silent] * links))
        before = State.now()
        gone = Vanishing.dial(proxy.port, "/")
        await in_thread(pool, stage, gone)
        await until(lambda: len(silent.peers) == links, 10, lambda: silent.peers)
        reset(gone.client)
        await proxy.nothing_is_left(before, within=within)
        await in_thread(pool, eventually, lambda: all(peer.gone for peer in silent.peers))
        await proxy.stop()


@pytest.mark.parametrize("links", [1, 2])
@pytest_twisted.ensureDeferred
async def test_while_an_upstream_takes_nothing(links: int, pool: ThreadPool) -> None:
    """A client that is not read because its link is full is missed when it does not take a heartbeat."""
    with FakeUpstream(stop_reading) as stuck:
        proxy = Proxy({**fake_config(*[stuck] * links), "connection_close_timeout": "500ms"})
        before = State.now()
        gone = Vanishing.dial(proxy.port, "/")

        def fill_the_link() -> None:
            gone.client.start("guest", "guest")
            gone.client.tune(heartbeat=1)
            gone.client.open_vhost("/")
            gone.client.expect(commands.Connection.OpenOk)
            gone.client.open_channel(1)
            gone.client.sock.settimeout(0.1)
            octets = b""
            while not proxy.is_paused(gone.address):
                octets = octets or encode_publish("", "full", BIG_BODY)
                try:
                    octets = octets[gone.client.sock.send(octets) :]
                except TimeoutError:
                    continue  # so it is paused, or about to be

        await in_thread(pool, fill_the_link)
        reset(gone.client)
        await proxy.nothing_is_left(before, within=5.0)
        await proxy.stop()


@pytest_twisted.ensureDeferred
async def test_clients_that_read_nothing_more(plain: Proxy, fan: Proxy, vhost: str, pool: ThreadPool) -> None:
    """Who reads nothing is dropped when it does not answer: heartbeats, as agreed, or connection.close."""
    before = State.now()

    def stop_listening(proxy: Proxy, heartbeat: int) -> Vanishing:
        deaf = Vanishing.dial(proxy.port, vhost, heartbeat)
        not_reading(deaf)
        eventually(lambda: proxy.is_full(deaf.address), 20, "the proxy feels that a client does not read")
        if not heartbeat:
            # A mistake: the reason for closing is written behind everything that the client does not take.
            deaf.client.send_octets(bytes(8))
        return deaf

    work = [in_thread(pool, stop_listening, proxy, heartbeat) for proxy in (plain, fan) for heartbeat in (0, 2)]
    all_deaf = await gatherResults(work, consumeErrors=True)
    await plain.nothing_is_left(before)
    await fan.nothing_is_left(before)
    for deaf in all_deaf:
        deaf.client.close()
