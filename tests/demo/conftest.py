"""Fixtures of the demo's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.process import DemoProcess, Start


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for UNIX sockets, and which a shell would take for two."""
    path = Path(tempfile.mkdtemp(prefix="a demo-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start_demo(folder: Path) -> Iterator[Start]:
    """Starts a demo; it ends with the test."""
    started: list[DemoProcess] = []

    def start(*options: str, terminal: bool = False, port: int = 0) -> DemoProcess:
        started.append(DemoProcess(folder, *options, terminal=terminal, port=port))
        return started[-1]

    yield start
    for process in started:
        process.close()
