"""``trabbits config`` and ``trabbits check-config``: what they print, where, and their exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trabbits.cli.main import cli

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECRET_FILES = Path(__file__).resolve().parents[1] / "config" / "secret_files"


def trabbits(*arguments: str, color: bool = False, **environment: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="trabbits", env=environment, color=color)


SUMMARY = """\

upstream primary
  node               localhost:5672
  required           yes
  timeout            5s
  health check       off
  gets               what no pattern matches
  queue attributes   as clients say
  rewriters          none
  credentials        the clients' own
  queue options      none

upstream cluster-eu
  nodes              rabbit-1.eu.example.com:5672 {"datacenter": "eu-1"}, 10.0.0.5:5672, [::1]:5673
  selector           datacenter_affinity {"datacenter": "eu-1"}
  required           no: clients connect without it while it is down
  timeout            500ms
  health check       every 30s within 5s as "health" at "/"; isolated after 3 failures, then every 1m
  gets               "eu.#", "*.eu", "order-%.eu"
  queue attributes   durable true, auto_delete false, without x-expires
  rewriters          quorum {"queues": ["orders.#"]}
  credentials        mapped for "orders", all others
  queue options      try_passive, emulate_auto_delete

clients
  session            fan: several upstreams as one
  offered            frame_max 131072, channel_max 2046, heartbeat 1m
  handshake          within 5s
  log in by          EXTERNAL {"user_from": "common_name"}, PLAIN {"needs_tls": true}, AMQPLAIN
  TLS                at 0.0.0.0:5671, client certificates optional
  policies           max_connections {"total": 10000, "per_user": 500}; each within 5s
  routing            key_patterns
  connection close   within 1s
  transactions       of one upstream each

leaving
  shutdown           within 1m30s
  reload             within 30s
  pace               10 clients at once, then 100 per second
"""


@pytest.mark.parametrize("command", [["config", "check"], ["check-config"]])
def test_a_good_configuration(command: list[str]) -> None:
    """Both commands say "ok" and what would run, without the password."""
    path = str(EXAMPLES / "everything.json")
    files = str(SECRET_FILES)
    result = trabbits(
        *command,
        path,
        HEALTH_PASSWORD="hunter2",
        ADMIN_TOKEN="hunter3",
        APPLICATIONS_PASSWORD="hunter4",
        CREDENTIALS_DIRECTORY=files,
    )
    assert (result.stdout, result.stderr, result.exit_code) == (f"ok: {path}\n{SUMMARY}", "", 0)


def test_jsonnet() -> None:
    path = str(EXAMPLES / "jsonnet" / "config.jsonnet")
    result = trabbits("config", "check", path, HEALTH_PASSWORD="hunter2", STAGE="blue")
    assert result.exit_code == 0
    assert "rabbit-3.blue:5672" in result.stdout
    assert "hunter2" not in result.output


def test_plugins() -> None:
    """Their names, and the options that were given, without secrets."""
    result = trabbits("config", "check", str(EXAMPLES / "plugins.json"), AUTH_TOKEN="hunter5")
    assert (result.stderr, result.exit_code) == ("", 0)
    rows = {line[2:20].strip(): line[21:] for line in result.stdout.splitlines() if line.startswith("  ")}
    assert rows["routing"].startswith('first_match {"strategies": [{"plugin": "headers", ')
    assert rows["policies"].startswith('max_connections {"total": 10000, "per_virtual_host": 2000}, http_auth {"url": ')
    assert rows["policies"].endswith('"token": "**********"}; each within 5s')
    assert rows["gets"] == "what first_match routes to it"
    assert "hunter5" not in result.output


def test_a_wrong_option(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    upstreams = [{"name": "a", "address": "a:1"}, {"name": "b", "address": "b:1"}]
    routing = {"plugin": "weighted", "options": {"weights": {"a": 90, "c": 10}}}
    path.write_text(json.dumps({"upstreams": upstreams, "routing": routing}))
    result = trabbits("config", "check", str(path))
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.splitlines()[1:] == [
        '  routing.options.weights.c: expected the name of an upstream: "a", "b", found "c"'
    ]


@pytest.mark.parametrize("command", [["config", "check"], ["check-config"]])
def test_a_bad_configuration(command: list[str], tmp_path: Path) -> None:
    """Every error at once, each with its path, on standard error; the status is 2."""
    path = tmp_path / "config.json"
    path.write_text('{"upstreams": [{"name": "a", "address": "${NOWHERE}"}], "colour": 1, "heartbeat": -1}')
    result = trabbits(*command, str(path))
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.splitlines() == [
        f"trabbits: error: {path}: 3 errors in the configuration",
        '  upstreams[0].address: expected "host:port", such as "localhost:5672", found "${NOWHERE}"',
        "  heartbeat: expected at least 0, found -1",
        "  colour: unknown key, expected one of admin, authentication, channel_max, connection_close_timeout, "
        "frame_max, graceful_shutdown, handshake_timeout, heartbeat, policies, policy_timeout, routing, tls, "
        "transactions, upstreams",
        "  warning: upstreams[0].address: the environment variable NOWHERE is not set, "
        "the empty text stands in its place",
    ]


def test_a_missing_file() -> None:
    result = trabbits("config", "check", "/nowhere.json")
    assert (result.stdout, result.exit_code) == ("", 2)
    assert "cannot be read: No such file or directory" in result.stderr


def test_warnings(tmp_path: Path) -> None:
    """They go to standard error and change neither the summary nor the status."""
    path = tmp_path / "config.json"
    path.write_text('{"upstreams": [{"name": "a", "address": "a${NOWHERE}:1"}]}')
    result = trabbits("check-config", str(path))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"ok: {path}\n")
    assert result.stderr == (
        f"trabbits: warning: {path}: upstreams[0].address: the environment variable NOWHERE is not set, "
        "the empty text stands in its place\n"
    )


def test_the_summary_of_odd_values(tmp_path: Path) -> None:
    """Nothing that a terminal would obey gets there, whatever the configuration says."""
    path = tmp_path / "config.json"
    upstream = {
        "name": "a",
        "address": "a:1",
        "routing": {"key_patterns": ["\x1b[31m\x7f\u202e"]},
        "queue_attributes": {"arguments": {"\x9b": "\x1b", "x": [1.5, "ü"]}},
        "rewriters": [{"plugin": "quorum", "options": {"queues": ["\x1b[31m"]}}],
    }
    path.write_text(json.dumps({"upstreams": [upstream], "heartbeat": 0, "transactions": {"best_effort": True}}))
    result = trabbits("check-config", str(path))
    assert result.exit_code == 0
    assert all(line.isprintable() for line in result.stdout.splitlines())
    assert 'x [1.5, "ü"]' in result.stdout
    assert "no heartbeat" in result.stdout
    assert "best effort" in result.stdout
    assert "plain: one upstream" in result.stdout


def test_colors_on_terminals_only() -> None:
    path = str(EXAMPLES / "single.json")
    assert "\x1b[" not in trabbits("config", "check", path).output
    assert "\x1b[" in trabbits("config", "check", path, color=True).output
    assert "\x1b[" not in trabbits("config", "check", path, color=True, NO_COLOR="1").output


def test_schema() -> None:
    result = trabbits("config", "schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["config"], ["check", "schema"]),
        (["config", "check"], ["FILE", "Jsonnet", "exit", "status", "standard error"]),
        (["check-config"], ["FILE", "Jsonnet", "exit", "status"]),
        (["config", "schema"], ["JSON Schema", '"$schema"']),
        (["run"], ["JSON or Jsonnet"]),
    ],
)
def test_help(command: list[str], words: list[str]) -> None:
    """Each command says what it takes, what it prints and where."""
    result = trabbits(*command, "--help")
    assert result.exit_code == 0
    for word in words:
        assert word in " ".join(result.output.split())


def test_the_alias_is_not_listed_twice() -> None:
    output = trabbits("--help").output
    assert "check-config" not in output
    assert "config" in output


def test_usage() -> None:
    assert trabbits("config", "check").exit_code == 2
    assert trabbits("check-config").exit_code == 2
