"""`trabbits.config.conflicts`: rules between keys, told together with everything else that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.config.configurations import json_values, refused
from trabbits.config import validate_config
from trabbits.config.conflicts import conflicts

EITHER = 'expected "address" (one node) or "cluster" (several)'


def upstream(**keys: Any) -> dict[str, Any]:
    return {"upstreams": [{"name": "a", **keys}]}


@pytest.mark.parametrize(
    ("keys", "problems"),
    [
        ({}, {"upstreams[0]": EITHER}),
        ({"address": None}, {"upstreams[0]": EITHER}),
        ({"address": None, "cluster": None}, {"upstreams[0]": EITHER}),
        (
            {"address": "a:1", "cluster": {"nodes": ["a:1"]}},
            {"upstreams[0].cluster": 'expected only one of "address" and "cluster"'},
        ),
        (
            {"cluster": {"nodes": ["a:1", "[::1]:1", "a:2", "[0::1]:1", "A:1"]}},
            {
                "upstreams[0].cluster.nodes[3]": 'expected an address that no other node has, found "[::1]:1"',
                "upstreams[0].cluster.nodes[4]": 'expected an address that no other node has, found "A:1"',
            },
        ),
    ],
)
def test_address_or_cluster(keys: dict[str, Any], problems: dict[str, str]) -> None:
    """Exactly one of the two, and a cluster's nodes are distinct however they are written."""
    assert refused(upstream(**keys)) == problems


def test_null_is_as_good_as_absent() -> None:
    validate_config(upstream(address=None, cluster={"nodes": ["a:1"]}), "test")
    validate_config(upstream(address="a:1", cluster=None), "test")


@pytest.mark.parametrize(
    ("check", "missing"),
    [
        ({}, ["username", "password"]),
        ({"username": "u"}, ["password"]),
        ({"enabled": True, "username": None, "password": "p"}, ["username"]),
        ({"enabled": False}, []),
    ],
)
def test_a_health_check_needs_credentials(check: dict[str, Any], missing: list[str]) -> None:
    raw = upstream(address="a:1", health_check=check)
    if not missing:
        validate_config(raw, "test")
        return
    problems = refused(raw)
    assert list(problems) == [f"upstreams[0].health_check.{key}" for key in missing]
    for key in missing:
        what = f'expected a {key}, which an enabled health check logs in with (or "enabled": false)'
        assert problems[f"upstreams[0].health_check.{key}"] == what


def test_told_together_with_other_errors() -> None:
    """A wrong value elsewhere hides no conflict, and no place is complained about twice."""
    raw = upstream(timeout=-1, cluster={"nodes": ["a:1", "x", "a:1"]}, health_check={"password": 5})
    raw["upstreams"].append({"name": "a", "adress": "a:1"})
    assert sorted(refused(raw)) == [
        "upstreams[0].cluster.nodes[1]",
        "upstreams[0].cluster.nodes[2]",
        "upstreams[0].health_check.password",
        "upstreams[0].health_check.username",
        "upstreams[0].timeout",
        "upstreams[1]",
        "upstreams[1].adress",
        "upstreams[1].name",
    ]


@given(json_values)
def test_any_value(value: Any) -> None:
    """Nothing here expects a value to be what it should be."""
    for raw in (
        value,
        {"upstreams": value},
        {"upstreams": [value, value]},
        upstream(address=value, cluster=value),
        upstream(cluster={"nodes": value}, health_check=value),
        upstream(cluster={"nodes": [value, value]}, health_check={"enabled": value}),
    ):
        list(conflicts(raw))
