"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake_api import FakeApi


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for UNIX sockets, whatever the test's name."""
    path = Path(tempfile.mkdtemp(prefix="trabbits-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def fake_api(folder: Path) -> Iterator[FakeApi]:
    """An admin API on the UNIX socket `folder / "api.sock"`."""
    api = FakeApi(folder / "api.sock")
    yield api
    api.close()


@pytest.fixture
def fake_tcp_api() -> Iterator[FakeApi]:
    """An admin API on TCP."""
    api = FakeApi(None)
    yield api
    api.close()
