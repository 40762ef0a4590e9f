"""The version that trabbits announces: the lowest of all upstreams that are RabbitMQ, as last seen."""

from __future__ import annotations

from typing import Any

import pytest

from trabbits.session.announced import DEFAULT_VERSION, AnnouncedVersion


def announced(*noted: tuple[str, Any]) -> str:
    """What is announced after upstreams told these versions."""
    version = AnnouncedVersion()
    for upstream, each in noted:
        version.note(upstream, {"product": "RabbitMQ", "version": each})
    return version.version


@pytest.mark.parametrize(
    ("noted", "version"),
    [
        ([], DEFAULT_VERSION),
        ([("a", "3.13.7")], "3.13.7"),
        ([("a", "3.13.7"), ("b", "3.9.29")], "3.9.29"),
        ([("a", "4.0.0-rc.1"), ("b", "4.0.1")], "4.0.0-rc.1"),
        ([("a", "3.9.1"), ("a", "3.13.0")], "3.13.0"),
        ([("a", "3.10"), ("b", "3.9.9.9")], "3.9.9.9"),
        ([("a", "no version")], DEFAULT_VERSION),
        ([("a", 3)], DEFAULT_VERSION),
        ([("a", None)], DEFAULT_VERSION),
        ([("a", "")], DEFAULT_VERSION),
    ],
)
def test_the_lowest_version(noted: list[tuple[str, Any]], version: str) -> None:
    assert announced(*noted) == version


@pytest.mark.parametrize("properties", [{}, {"version": "1.0"}, {"product": "LavinMQ", "version": "1.2.3"}])
def test_other_products_do_not_count(properties: dict[str, Any]) -> None:
    version = AnnouncedVersion()
    version.note("a", properties)
    assert version.version == DEFAULT_VERSION
