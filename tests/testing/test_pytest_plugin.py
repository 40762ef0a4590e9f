"""The fixtures for others, in a run of pytest of their own, without anything of this repository."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

TEST = """
import sys


def test_nothing_large_is_loaded_before_a_test_asks_for_it():
    assert not {"twisted", "txamqp", "pydantic"}.intersection(sys.modules)


def test_one_broker(embedded_broker):
    from trabbits.testing.client import RecordingClient

    with RecordingClient.connect(embedded_broker.port) as client:
        client.declare("q")


def test_that_fails(embedded_broker, trabbits_proxy):
    trabbits_proxy(upstreams={"a": embedded_broker})
    assert False
"""


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    # The plugins of this repository are many and large.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_pytest_finds_them_wherever_trabbits_is_installed() -> None:
    (point,) = entry_points(group="pytest11", name="trabbits")
    assert point.value == "trabbits.testing.pytest_plugin"


def test_fixtures_in_a_run_of_their_own(tmp_path: Path) -> None:
    """The log of a proxy is shown where a test fails."""
    (tmp_path / "test_own.py").write_text(TEST)
    said = run(tmp_path, "-m", "pytest", "-q", "-p", "trabbits.testing.pytest_plugin", "-p", "no:cacheprovider")
    assert "1 failed, 2 passed" in said
    assert "log of trabbits on port" in said
    assert '"event": "listening"' in said


def test_the_kit_needs_no_pytest(tmp_path: Path) -> None:
    modules = [f"trabbits.testing.{name}" for name in ("running", "client", "contracts", "trial")]
    code = f"import sys; sys.modules['pytest'] = None; import {', '.join(modules)}\n"
    code += "print('twisted.internet.reactor' in sys.modules)"
    assert run(tmp_path, "-c", code).split() == ["False"]
