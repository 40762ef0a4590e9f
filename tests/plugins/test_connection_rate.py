"""`connection_rate`: an average with a burst, by virtual host, or an alarm only."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.plugins.policies import logged, made, visitor
from trabbits.interfaces import IConnectionPolicy
from trabbits.plugins.catalogue import discover
from trabbits.plugins.connection_rate import connection_rate


def admitted(policy: Any, count: int, virtual_host: str = "/") -> int:
    return sum(policy.admit(visitor(virtual_host=virtual_host)) is None for _ in range(count))


def test_fulfils_the_interface_and_is_found() -> None:
    verifyObject(IConnectionPolicy, made(connection_rate, rate=1.0))
    assert discover().get(IConnectionPolicy, "connection_rate") is connection_rate


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        ({"rate": 5.0}, 5),
        ({"rate": 5}, 5),
        ({"rate": 0.1}, 1),
        ({"rate": 5.0, "burst": 20}, 20),
        ({"rate": 5.0, "virtual_hosts": {"/": {"rate": 2.0}}}, 2),
        ({"virtual_hosts": {"/": {"rate": 2.0, "burst": 7}}}, 7),
    ],
)
def test_the_burst(options: dict[str, Any], at_once: int) -> None:
    assert admitted(made(connection_rate, Clock(), **options), 50) == at_once


def test_the_average() -> None:
    clock = Clock()
    policy = made(connection_rate, clock, rate=2.0, burst=3)
    came = 0
    for _ in range(1000):
        came += admitted(policy, 1)
        clock.advance(0.1)
    assert came == pytest.approx(3 + 200, abs=2)


def test_the_refusal_is_one_that_clients_come_back_after() -> None:
    policy = made(connection_rate, Clock(), rate=1.5)
    admitted(policy, 1)
    refusal = policy.admit(visitor())
    assert refusal.code == 320
    assert "more than 1.5 connections a second to vhost '/'" in refusal.text


def test_virtual_hosts_do_not_disturb_each_other() -> None:
    policy = made(connection_rate, Clock(), rate=2.0)
    assert admitted(policy, 9, "/one") == 2
    assert admitted(policy, 9, "/two") == 2


def test_others_are_free_without_a_default() -> None:
    policy = made(connection_rate, Clock(), virtual_hosts={"/": {"rate": 1.0}})
    assert admitted(policy, 100, "/other") == 100
    policy.left(visitor())


def test_alarm_only_lets_everybody_in_and_says_so_now_and_then() -> None:
    clock = Clock()
    policy = made(connection_rate, clock, rate=1.0, alarm_only=True)
    with logged() as texts:
        assert admitted(policy, 50) == 50
        clock.advance(0.5)
        assert admitted(policy, 50) == 50
        assert len(texts) == 1
        clock.advance(10)
        assert admitted(policy, 50) == 50
    assert len(texts) == 2
    assert "more than 1 connections a second to vhost '/'" in texts[0]
    assert "guest" in texts[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rate": 0.0},
        {"rate": -1.0},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"rate": 1.0, "burst": 0},
        {"burst": 3, "virtual_hosts": {"/": {"rate": 1.0}}},
        {"virtual_hosts": {"/": {}}},
        {"virtual_hosts": {"/": 3.0}},
        {"alarm_only": True},
        {"rate": "fast"},
    ],
)
def test_mistakes_in_the_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(connection_rate, **options)
