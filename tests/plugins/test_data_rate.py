"""`data_rate`: how long nobody reads, so that the average holds for a client and for a virtual host."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.plugins.policies import logged, made, visitor
from trabbits.interfaces import IConnectionPolicy, IDataPolicy, Visitor
from trabbits.plugins.catalogue import discover
from trabbits.plugins.data_rate import data_rate

CHUNK = 65536


def sent(policy: Any, clock: Clock, clients: list[Visitor], seconds: float) -> int:
    """What clients that always have something to send get through in so many seconds, in reads of 64 KiB."""
    free = {client.session: clock.seconds() for client in clients}
    start, octets = clock.seconds(), 0
    while clock.seconds() - start < seconds:
        for client in clients:
            if free[client.session] <= clock.seconds():
                free[client.session] = clock.seconds() + policy.received(client, CHUNK)
                octets += CHUNK
        clock.advance(0.01)
    return octets


def entered(policy: Any, *virtual_hosts: str) -> list[Visitor]:
    clients = [visitor(virtual_host=each) for each in virtual_hosts]
    assert [policy.admit(each) for each in clients] == [None] * len(clients)
    return clients


def test_fulfils_the_interface_and_is_found() -> None:
    verifyObject(IDataPolicy, made(data_rate, per_session=1000))
    assert discover().get(IConnectionPolicy, "data_rate") is data_rate


def test_a_session() -> None:
    clock = Clock()
    policy = made(data_rate, clock, per_session=1_000_000)
    clients = entered(policy, "/", "/")
    assert sent(policy, clock, clients, 20) == pytest.approx(2 * 20_000_000, rel=0.07)
    for each in clients:
        policy.left(each)
    assert policy._sessions == {}


@pytest.mark.parametrize("options", [{"per_virtual_host": 1_000_000}, {"virtual_hosts": {"/": 1_000_000}}])
@pytest.mark.parametrize("clients", [1, 2, 10])
def test_a_virtual_host_whoever_sends(options: dict[str, Any], clients: int) -> None:
    clock = Clock()
    policy = made(data_rate, clock, **options)
    assert sent(policy, clock, entered(policy, *["/"] * clients), 20) == pytest.approx(20_000_000, rel=0.1)


def test_other_virtual_hosts_are_free() -> None:
    policy = made(data_rate, Clock(), virtual_hosts={"/": 1000})
    (client,) = entered(policy, "/other")
    assert policy.received(client, 10**9) == 0


def test_coming_back_does_not_help_a_virtual_host() -> None:
    policy = made(data_rate, Clock(), per_virtual_host=1000)
    (client,) = entered(policy, "/")
    assert policy.received(client, 5000) == 4.0
    policy.left(client)
    (client,) = entered(policy, "/")
    assert policy.received(client, 1000) == 5.0


def test_the_burst() -> None:
    for burst, wait in ((0.0, 10.0), (1.0, 9.0), (10.0, 0.0)):
        policy = made(data_rate, Clock(), per_session=1000, burst=burst)
        (client,) = entered(policy, "/")
        assert policy.received(client, 10_000) == wait


def test_the_longer_wait_counts() -> None:
    policy = made(data_rate, Clock(), per_session=1000, per_virtual_host=2000, burst=0.0)
    one, other = entered(policy, "/", "/")
    assert policy.received(one, 8000) == 8.0
    assert policy.received(other, 8000) == 8.0
    assert policy.received(other, 4000) == 12.0


def test_alarm_only_holds_nobody_back_and_says_so_now_and_then() -> None:
    clock = Clock()
    policy = made(data_rate, clock, per_virtual_host=1000, alarm_only=True)
    (client,) = entered(policy, "/")
    with logged() as texts:
        assert [policy.received(client, 5000) for _ in range(10)] == [0.0] * 10
        assert len(texts) == 1
        clock.advance(11)
        # After a quiet time, the bucket is full again: what was too much is forgotten.
        assert policy.received(client, 900) == 0.0
        assert len(texts) == 1
        assert policy.received(client, 900) == 0.0
    assert len(texts) == 2
    assert "virtual host / sends more than 1000 octets a second" in texts[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"per_session": 999},
        {"per_session": 5000.5},
        {"per_session": 5000, "burst": -1.0},
        {"per_session": 5000, "burst": float("inf")},
        {"virtual_hosts": {"/": 1}},
        {"burst": 2.0},
        {"per_session": "1M"},
    ],
)
def test_mistakes_in_the_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(data_rate, **options)
