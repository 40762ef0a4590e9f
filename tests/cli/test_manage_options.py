"""`trabbits manage`: where the admin API is, `upstreams`, and shell completion."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.cli.fake_api import FakeApi, Reply
from tests.cli.samples import ROOT, client, environment, manage, on_terminal, serve_clients
from trabbits import api_client
from trabbits.cli.main import cli

VARIABLES = (
    "TRABBITS_API_SOCKET",
    "TRABBITS_API_URL",
    "TRABBITS_API_TOKEN",
    "TRABBITS_API_CA_FILE",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def trabbits(*arguments: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(cli, list(arguments), prog_name="trabbits")


def test_the_default_socket_is_the_servers() -> None:
    defaults = {
        name: next(option.default for option in cli.commands[name].params if option.name == "api_socket")
        for name in ("run", "manage")
    }
    assert set(defaults.values()) == {api_client.DEFAULT_SOCKET}


def test_the_socket_from_the_environment(fake_api: FakeApi, folder: Path) -> None:
    serve_clients(fake_api, client("proxy-1"))
    result = trabbits("manage", "clients", TRABBITS_API_SOCKET=str(folder / "api.sock"))
    assert result.exit_code == 0
    assert "proxy-1" in result.output


def test_a_url_and_a_token(fake_tcp_api: FakeApi, folder: Path) -> None:
    (folder / "token").write_text(" s3cret\n")
    url = fake_tcp_api.url
    assert trabbits("manage", "--api-url", url, "clients").exit_code == 0
    assert trabbits("manage", "--api-url", url, "--token-file", str(folder / "token"), "clients").exit_code == 0
    assert trabbits("manage", "clients", TRABBITS_API_URL=url, TRABBITS_API_TOKEN="other").exit_code == 0
    tokens = [request.headers.get("authorization") for request in fake_tcp_api.requests]
    assert tokens == [None, "Bearer s3cret", "Bearer other"]


def test_what_is_typed_wins_over_the_environment(fake_api: FakeApi, fake_tcp_api: FakeApi, folder: Path) -> None:
    socket = str(folder / "api.sock")
    assert trabbits("manage", "--api-socket", socket, "clients", TRABBITS_API_URL=fake_tcp_api.url).exit_code == 0
    assert (len(fake_api.requests), len(fake_tcp_api.requests)) == (1, 0)
    assert trabbits("manage", "--api-url", fake_tcp_api.url, "clients", TRABBITS_API_SOCKET=socket).exit_code == 0
    assert trabbits("manage", "clients", TRABBITS_API_URL=fake_tcp_api.url, TRABBITS_API_SOCKET=socket).exit_code == 0
    assert (len(fake_api.requests), len(fake_tcp_api.requests)) == (1, 2)
    # The token is for the URL.
    assert trabbits("manage", "--api-socket", socket, "clients", TRABBITS_API_TOKEN="s3cret").exit_code == 0
    assert "authorization" not in fake_api.requests[-1].headers


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--api-socket", "a", "--api-url", "http://a"], "give one of them"),
        (["--api-socket", ""], "expected the path of a socket"),
        (["--api-url", "localhost:16693"], 'expected something like "https://host:16693"'),
        (["--api-url", "http://a", "--token-file", "/nowhere"], "--token-file /nowhere: No such file"),
        (["--api-url", "http://a", "--token-file", "/dev/null"], "a token is printable ASCII"),
        (["--token-file", "/dev/null"], "--token-file goes with --api-url"),
        (["--ca-file", "/dev/null"], "--ca-file goes with --api-url"),
        (["--api-url", "https://a", "--ca-file", "/nowhere"], "no certificates to be read there"),
    ],
)
def test_wrong_usage(arguments: list[str], text: str) -> None:
    result = trabbits("manage", *arguments, "clients")
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_token_is_never_told(folder: Path) -> None:
    (folder / "token").write_text("s3cret two")
    result = trabbits("manage", "--api-url", "http://a", "--token-file", str(folder / "token"), "clients")
    assert result.exit_code == 2
    assert "s3cret" not in result.output
    (folder / "token").write_bytes(b"s3cret\xff")
    result = trabbits("manage", "--api-url", "http://a", "--token-file", str(folder / "token"), "clients")
    assert (result.exit_code, "s3cret" in result.output) == (2, False)
    result = trabbits("manage", "--api-url", "http://a", "clients", TRABBITS_API_TOKEN="s3cret two")
    assert (result.exit_code, "s3cret" in result.output) == (2, False)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_names_the_remedy(fake_tcp_api: FakeApi, status: int) -> None:
    fake_tcp_api.answers["GET", "/clients"] = Reply(status, {"error": "a token is needed"})
    result = trabbits("manage", "--api-url", fake_tcp_api.url, "clients")
    assert result.exit_code == 1
    assert result.stderr == (
        "trabbits: error: a token is needed; the token comes from --token-file or TRABBITS_API_TOKEN\n"
    )


def test_nothing_is_running(folder: Path) -> None:
    done = manage(folder, "upstreams")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"trabbits: error: {folder}/api.sock: no such socket. Is trabbits running?")
    assert "--api-socket" in done.stderr


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield prefix + name, command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")


def test_the_page_tells_every_command_and_option() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    group = cli.commands["manage"]
    assert isinstance(group, click.Group)
    for name, command in [("manage", group), *commands(group)]:
        if not isinstance(command, click.Group):
            assert re.search(rf"^\| `{name}[` ]", page, re.MULTILINE), name
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"`{option.opts[0]}" in page, (name, option.opts)


# --------------------------------------------------------------------------------------------------------- upstreams

UPSTREAMS = [
    {
        "name": "primary",
        "required": True,
        "publishes": 1000,
        "deliveries": 900,
        "unacknowledged": 7,
        "unconfirmed": 3,
        "nodes": [
            {"address": "rabbit-1:5672", "health": "healthy", "suspect": False, "failures": 0, "links": 10},
            {
                "address": "rabbit-2:5672",
                "health": "isolated",
                "suspect": False,
                "failures": 4,
                "links": 0,
                "last_error": "connection refused",
            },
            {"address": "rabbit-3:5672", "health": "healthy", "suspect": True, "failures": 1, "links": 9},
        ],
    },
    {"name": "backup", "required": False, "nodes": []},
]


def test_upstreams_have_a_line_for_each_node(fake_api: FakeApi, folder: Path) -> None:
    fake_api.answers["GET", "/upstreams"] = Reply(body=UPSTREAMS)
    done = manage(folder, "upstreams")
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = [line.split() for line in done.stdout.splitlines()]
    assert head[:4] == ["UPSTREAM", "REQUIRED", "NODE", "HEALTH"]
    assert lines == [
        ["primary", "yes", "rabbit-1:5672", "healthy", "10", "0", "7", "3", "1000", "900", "-"],
        ["rabbit-2:5672", "isolated", "0", "4", "connection", "refused"],
        ["rabbit-3:5672", "suspect", "9", "1", "-"],
        ["backup", "no", *["-"] * 9],
    ]
    shown, _ = on_terminal(folder, "upstreams", columns=80)
    assert "\x1b[31misolated\x1b[0m" in shown
    assert '"rabbit-2:5672"' in manage(folder, "upstreams", "--json").stdout


# -------------------------------------------------------------------------------------------------------- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = trabbits("completion", shell)
    assert result.exit_code == 0
    assert f"_TRABBITS_COMPLETE={shell}_complete" in result.output
    assert "trabbits" in result.output
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=result.output, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_completion_of_another_shell() -> None:
    assert trabbits("completion", "csh").exit_code == 2


def completed(*words: str, **variables: str) -> list[str]:
    """What the shell is offered for the last word."""
    done = subprocess.run(
        [sys.executable, "-m", "trabbits"],
        cwd=ROOT,
        env=environment(
            _TRABBITS_COMPLETE="bash_complete",
            COMP_WORDS="\n".join(["trabbits", *words]),
            COMP_CWORD=str(len(words)),
            **variables,
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_are_completed() -> None:
    assert completed("man") == ["manage"]
    assert completed("manage", "clients", "") == ["info", "list", "probe", "shutdown", "tui"]
    assert "--reason" in completed("manage", "clients", "shutdown", "--r")


def test_ids_are_completed(fake_api: FakeApi, folder: Path) -> None:
    serve_clients(fake_api, client("proxy-1a"), client("proxy-1b"), client("proxy-2", user="proxy-1"))
    socket = str(folder / "api.sock")
    assert completed("manage", "clients", "info", "proxy-1", TRABBITS_API_SOCKET=socket) == ["proxy-1a", "proxy-1b"]
    assert completed("manage", "--api-socket", socket, "clients", "probe", "proxy-2") == ["proxy-2"]


def test_ids_are_not_completed_without_a_server(folder: Path) -> None:
    assert completed("manage", "clients", "info", "proxy-1", TRABBITS_API_SOCKET=str(folder / "none")) == []
    assert completed("manage", "--api-socket", "''", "clients", "info", "proxy-1") == []
    assert completed("manage", "clients", "info", "proxy-1", TRABBITS_API_URL="nonsense") == []
