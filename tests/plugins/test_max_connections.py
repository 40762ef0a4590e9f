"""`max_connections`: who is let in when how many are there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from tests.plugins.policies import made, visitor
from trabbits.interfaces import IConnectionPolicy, Visitor
from trabbits.plugins.catalogue import discover
from trabbits.plugins.max_connections import max_connections


def test_fulfils_the_interface_and_is_found() -> None:
    verifyObject(IConnectionPolicy, made(max_connections, total=1))
    assert discover().get(IConnectionPolicy, "max_connections") is max_connections


@pytest.mark.parametrize(
    ("options", "admitted", "text"),
    [
        ({"total": 2}, 2, "the proxy's connection limit (2) is reached"),
        ({"total": 0}, 0, "limit (0)"),
        ({"per_virtual_host": 3}, 3, "access to vhost '/' refused for user 'guest': connection limit (3) is reached"),
        ({"per_virtual_host": 3, "virtual_hosts": {"/": 1}}, 1, "connection limit (1)"),
        ({"per_virtual_host": 1, "virtual_hosts": {"/": 4}}, 4, "connection limit (4)"),
        ({"per_user": 2}, 2, "connection refused for user 'guest': user connection limit (2) is reached"),
        ({"users": {"guest": 1}, "per_user": 9}, 1, "user connection limit (1)"),
        ({"users": {"guest": 3}, "total": 2}, 2, "the proxy's connection limit"),
    ],
)
def test_as_many_as_there_may_be(options: dict[str, Any], admitted: int, text: str) -> None:
    policy = made(max_connections, **options)
    inside = [visitor() for _ in range(admitted)]
    assert [policy.admit(each) for each in inside] == [None] * admitted
    for _ in range(3):
        refusal = policy.admit(visitor())
        assert refusal.code == 530
        assert text in refusal.text
    for each in inside:
        policy.left(each)
        assert policy.admit(each) is None


def test_others_have_limits_of_their_own() -> None:
    policy = made(max_connections, per_virtual_host=1, per_user=2)
    assert policy.admit(visitor("a", "/one")) is None
    assert policy.admit(visitor("a", "/one")) is not None
    assert policy.admit(visitor("a", "/two")) is None
    assert policy.admit(visitor("a", "/three")) is not None
    assert policy.admit(visitor("b", "/three")) is None


def test_what_is_not_limited_is_not() -> None:
    policy = made(max_connections, users={"a": 1})
    assert [policy.admit(visitor("b")) for _ in range(100)] == [None] * 100


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.booleans()), max_size=60))
def test_never_more_than_the_limits_and_nothing_is_lost(steps: list[tuple[str, str, bool]]) -> None:
    """Whoever comes and goes: who is refused would be one too many, and when all have left it is as at the start."""
    policy = made(max_connections, total=4, per_virtual_host=3, users={"a": 2})
    inside: list[Visitor] = []
    for user, host, comes in steps:
        if comes:
            new = visitor(user, host)
            too_many = (
                len(inside) >= 4
                or sum(each.virtual_host == host for each in inside) >= 3
                or (user == "a" and sum(each.user == "a" for each in inside) >= 2)
            )
            assert (policy.admit(new) is not None) == too_many
            if not too_many:
                inside.append(new)
        elif inside:
            policy.left(inside.pop(0))
    for each in inside:
        policy.left(each)
    assert (policy._total, dict(policy._hosts), dict(policy._users)) == (0, {}, {})


@pytest.mark.parametrize(
    "options",
    [{}, {"total": -1}, {"total": "3"}, {"total": True}, {"per_user": 1.5}, {"users": {"a": -1}}, {"all": 3}],
)
def test_mistakes_in_the_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(max_connections, **options)
