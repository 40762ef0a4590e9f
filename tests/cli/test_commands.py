"""The ``trabbits`` command in this process: what it prints, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trabbits import __version__
from trabbits.cli.environment import is_true
from trabbits.cli.main import cli


def trabbits(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="trabbits")


@pytest.mark.parametrize(
    ("pattern", "key", "output", "status"),
    [
        ("a.#", "a.b", "✓ MATCHED: pattern 'a.#' matches key 'a.b'\n", 0),
        ("a.*", "a", "✗ NOT MATCHED: pattern 'a.*' does not match key 'a'\n", 1),
        ("order-%.eu", "order-1.eu", "✓ MATCHED: pattern 'order-%.eu' matches key 'order-1.eu'\n", 0),
        ("#", "", "✓ MATCHED: pattern '#' matches key ''\n", 0),
        ("-x", "--y", "✗ NOT MATCHED: pattern '-x' does not match key '--y'\n", 1),
    ],
)
def test_match_routing(pattern: str, key: str, output: str, status: int) -> None:
    result = trabbits("test", "match-routing", pattern, key)
    assert (result.output, result.exit_code) == (output, status)


def test_match_routing_needs_both() -> None:
    assert trabbits("test", "match-routing", "a").exit_code == 2


def test_version() -> None:
    result = trabbits("--version")
    assert (result.output, result.exit_code) == (f"trabbits {__version__}\n", 0)


def test_without_arguments_help_is_shown() -> None:
    result = trabbits()
    assert result.exit_code == 0
    assert result.output == trabbits("--help").output
    assert "Usage: trabbits" in result.output


def test_help_of_run_names_options_and_variables() -> None:
    """The help tells every variable, and is honest about what is not there yet."""
    result = trabbits("run", "--help")
    for word in (
        "TRABBITS_CONFIG",
        "TRABBITS_PORT",
        "TRABBITS_METRICS_PORT",
        "TRABBITS_API_SOCKET",
        "DEBUG",
        "--no-metrics",
        "--pid-file",
    ):
        assert word in result.output
    assert "Reserved" not in result.output


@pytest.mark.parametrize("arguments", [["--port", "x"], ["--port", "65536"], ["--log-format", "xml"], ["--nonsense"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert trabbits("run", *arguments).exit_code == 2


def test_a_bad_configuration(tmp_path: Path) -> None:
    """Every error is told on standard error, and the status is 2."""
    path = tmp_path / "config.json"
    path.write_text('{"upstreams": [], "colour": 1}')
    result = trabbits("run", "--config", str(path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == f"trabbits: {path}: 2 errors in the configuration"
    assert result.stderr.splitlines()[1] == "  upstreams: expected a list of at least 1"
    assert trabbits("run", "--config", "").exit_code == 2


@pytest.mark.parametrize(
    ("value", "meaning"), [(None, False), ("", False), ("0", False), ("No", False), ("1", True), ("app:*", True)]
)
def test_debug_is_everybodys_variable(value: str | None, meaning: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("DEBUG", value)
    assert is_true("DEBUG") is meaning
