"""Playbooks for the tests: at the end of a test, everything that a session sent must have been expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from hypothesis import settings

from tests.session.playbook import Playbook

settings.register_profile("trabbits", deadline=None)
settings.load_profile("trabbits")


class Opening(Protocol):
    """Makes playbooks; see `Playbook` for the arguments."""

    def __call__(self, *upstreams: str, **options: Any) -> Playbook: ...


@pytest.fixture
def fresh() -> Iterator[Opening]:
    """Playbooks of sessions whose client has just connected."""
    playbooks: list[Playbook] = []

    def new(*upstreams: str, **options: Any) -> Playbook:
        playbook = Playbook(*upstreams, **options)
        playbooks.append(playbook)
        return playbook

    yield new
    for playbook in playbooks:
        playbook.expect_nothing()


@pytest.fixture
def opened(fresh: Opening) -> Opening:
    """Playbooks of sessions that are open, with channel 1 open on every link."""

    def new(*upstreams: str, **options: Any) -> Playbook:
        playbook = fresh(*upstreams, **options)
        playbook.open()
        playbook.open_channel(1)
        return playbook

    return new
