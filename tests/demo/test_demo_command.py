"""``trabbits demo`` before it begins."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from click.testing import CliRunner

from trabbits.cli import demo
from trabbits.cli.main import cli


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_is_no_error(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """Everything up to the reactor takes a second: long enough for somebody to think again."""
    folders = []

    def interrupted(options: Any, *_: object) -> int:
        folders.append(options.folder)
        assert options.folder.is_dir()
        signal.raise_signal(number)
        raise AssertionError("not interrupted")

    monkeypatch.setattr(demo, "_run", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = CliRunner().invoke(cli, ["demo"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (result.exit_code, result.output) == (0, "The demo has ended before it began.\n")
    assert not folders[0].exists()
