"""`trabbits manage clients`: list, info, shutdown, and how a client is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.fake_api import FakeApi, Reply
from tests.cli.samples import client, manage, on_terminal, serve_clients

A, B, C = "proxy-00aa00aa00aa00aa", "proxy-00bb00bb00bb00bb", "proxy-11cc11cc11cc11cc"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _clients(fake_api: FakeApi) -> None:
    serve_clients(
        fake_api,
        client(A),
        client(B, user="bob", status="shutting_down", shutdown_reason="maintenance", total_frames=12),
        client(C, user="carol", virtual_host="/orders", client_address="[2001:db8::1]:50000"),
    )


# -------------------------------------------------------------------------------------------------------------- list


def test_the_list_in_a_pipe_is_plain_aligned_and_whole(folder: Path) -> None:
    done = manage(folder, "clients", "list", COLUMNS="20")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ID                      USER   VHOST    ADDRESS              CLIENT                  STATUS           AGE"
        "  METHODS  FRAMES",
        f"{A}  alice  /        10.0.0.7:51514       Python 3.11/Pika/1.3.2  active         2h05m      300    1200",
        f"{B}  bob    /        10.0.0.7:51514       Python 3.11/Pika/1.3.2  shutting_down  2h05m      300      12",
        f"{C}  carol  /orders  [2001:db8::1]:50000  Python 3.11/Pika/1.3.2  active         2h05m      300    1200",
    ]


def test_clients_alone_lists_in_a_pipe(folder: Path) -> None:
    assert manage(folder, "clients").stdout == manage(folder, "clients", "list").stdout != ""


def test_a_terminal_gets_colors_and_lines_that_fit(folder: Path) -> None:
    shown, status = on_terminal(folder, "clients", "list", columns=80)
    assert status == 0
    assert "\x1b[32mactive       \x1b[0m" in shown
    assert "\x1b[33mshutting_down\x1b[0m" in shown
    lines = ANSI.sub("", shown).splitlines()
    assert [line.split()[0] for line in lines] == ["ID", A, B, C]
    assert lines[0].split() == ["ID", "USER", "VHOST", "ADDRESS", "STATUS", "AGE"]
    assert lines[3].split()[1:] == ["carol", "/orde…", "[2001:db8::1]:50000", "active", "2h05m"]
    assert {len(line) for line in lines} == {80}


def test_a_wide_terminal_shows_everything(folder: Path) -> None:
    shown, _ = on_terminal(folder, "clients", "list", columns=130)
    assert "Python 3.11/Pika/1.3.2" in shown
    assert "…" not in shown


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colors_where_they_are_not_wanted(folder: Path, name: str, value: str) -> None:
    shown, _ = on_terminal(folder, "clients", "list", columns=80, **{name: value})
    assert "\x1b" not in shown
    assert "active" in shown


def test_json_is_the_answer_as_it_is(fake_api: FakeApi, folder: Path) -> None:
    done = manage(folder, "clients", "list", "--json")
    assert json.loads(done.stdout) == fake_api.clients


def test_the_server_filters_sorts_and_cuts(fake_api: FakeApi, folder: Path) -> None:
    arguments = ["--filter", "10.0.0.7", "--sort", "-total_frames", "--limit", "1", "--offset", "1"]
    done = manage(folder, "clients", "list", *arguments)
    assert fake_api.requests[-1].query == {"q": "10.0.0.7", "sort": "-total_frames", "limit": "1", "offset": "1"}
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ID", B]
    assert done.stderr == "trabbits: note: 1 of 2 clients are shown\n"


def test_no_clients(fake_api: FakeApi, folder: Path) -> None:
    fake_api.clients = []
    done = manage(folder, "clients", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["ID", "USER", "VHOST", "ADDRESS", "CLIENT", "STATUS", "AGE", "METHODS", "FRAMES"]
    assert manage(folder, "clients", "list", "--json").stdout == "[]\n"


def test_names_of_clients_are_no_commands_to_the_terminal(fake_api: FakeApi, folder: Path) -> None:
    """A client names itself: escape sequences, line ends and direction marks are shown, never sent."""
    banner = "a\x1b]0;owned\x07\nb\u202ec\x9b31m"
    serve_clients(fake_api, client(A, client_banner=banner))
    for arguments in (["list"], ["list", "--json"], ["info", A], ["info", A, "--json"]):
        shown, _ = on_terminal(folder, "clients", *arguments, columns=200)
        assert not set(ANSI.sub("", shown)) & {"\x1b", "\x07", "\u202e", "\x9b"}
    assert r"a\x1b]0;owned\x07\nb\u202ec\x9b31m" in manage(folder, "clients", "list").stdout
    assert json.loads(manage(folder, "clients", "list", "--json").stdout)[0]["client_banner"] == banner


def test_a_strange_answer_is_no_traceback(fake_api: FakeApi, folder: Path) -> None:
    fake_api.answers["GET", "/clients"] = Reply(body=[1, {}, {"id": None, "connected_at": 7, "user": ["x"]}])
    done = manage(folder, "clients", "list")
    assert (done.returncode, done.stderr) == (0, "trabbits: note: 2 of 3 clients are shown\n")
    fake_api.answers["GET", "/clients"] = Reply(body="x")
    assert "Traceback" not in manage(folder, "clients", "info", A).stderr


# -------------------------------------------------------------------------------------------------------------- info


def test_info(fake_api: FakeApi, folder: Path) -> None:
    done = manage(folder, "clients", "info", B)
    since = fake_api.clients[1]["connected_at"]
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == f"""\
{B}
  user           bob
  virtual host   /
  address        10.0.0.7:51514
  client         Python 3.11/Pika/1.3.2
  status         shutting_down (maintenance)
  connected      {since}, 2h05m ago
  channels       3
  consumers      2
  methods        300
  frames         700 received, 500 sent
  configuration  0123456789abcdef

UPSTREAM  NODE           STATE    UNACKED  UNCONFIRMED
primary   rabbit-1:5672  open           7            1
backup    rabbit-9:5672  blocked        0            0

METHOD         COUNT
Basic.Publish    150
Basic.Ack        100
Channel.Open      50

CLIENT PROPERTIES
  product                              Pika
  capabilities.basic.nack              true
  capabilities.consumer_cancel_notify  false
  empty                                {{}}
"""
    )


def test_info_as_json(fake_api: FakeApi, folder: Path) -> None:
    done = manage(folder, "clients", "info", A, "--json")
    assert json.loads(done.stdout) == fake_api.details[A]


@pytest.mark.parametrize("named", [A, "proxy-00a", "00a", "00aa00aa00aa00aa"])
def test_the_beginning_of_an_id_is_enough(folder: Path, named: str) -> None:
    assert manage(folder, "clients", "info", named).stdout.startswith(A)


def test_a_whole_id_wins_over_longer_ones(fake_api: FakeApi, folder: Path) -> None:
    serve_clients(fake_api, client("proxy-1"), client("proxy-12"))
    assert manage(folder, "clients", "info", "proxy-1").stdout.startswith("proxy-1\n")


def test_a_beginning_of_several_ids_is_refused(fake_api: FakeApi, folder: Path) -> None:
    done = manage(folder, "clients", "shutdown", "00")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"trabbits: error: 00 fits 2 clients\n  {A}\n  {B}\n"
    assert {request.method for request in fake_api.requests} == {"GET"}
    serve_clients(fake_api, *(client(f"proxy-{number:04}") for number in range(12)))
    assert manage(folder, "clients", "info", "proxy-").stderr.splitlines()[-1] == "  and 2 more"


@pytest.mark.parametrize("command", ["info", "shutdown"])
@pytest.mark.parametrize("named", ["proxy-zz", "alice", "7", "../config"])
def test_an_unknown_client(fake_api: FakeApi, folder: Path, command: str, named: str) -> None:
    """What is somewhere in an entry but doesn't begin the id names nobody."""
    done = manage(folder, "clients", command, named)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"trabbits: error: no client is connected whose id begins with {named}\n"
    assert {request.method for request in fake_api.requests} == {"GET"}


def test_an_empty_id_never_means_the_only_client(fake_api: FakeApi, folder: Path) -> None:
    serve_clients(fake_api, client(A))
    assert manage(folder, "clients", "shutdown", "").returncode == 2
    assert fake_api.requests == []


def test_a_client_that_leaves_in_between(fake_api: FakeApi, folder: Path) -> None:
    fake_api.details.clear()
    fake_api.answers["GET", f"/clients/{A}"] = Reply(404, {"error": f"no client {A}"})
    done = manage(folder, "clients", "info", A)
    assert (done.returncode, done.stderr) == (1, f"trabbits: error: no client {A}\n")


# ---------------------------------------------------------------------------------------------------------- shutdown


def test_shutdown_with_a_reason(fake_api: FakeApi, folder: Path) -> None:
    done = manage(folder, "clients", "shutdown", "00a", "--reason", "moving to node 2 & more")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{A} is asked to leave: moving to node 2 & more\n"
    request = fake_api.requests[-1]
    assert (request.method, request.path) == ("DELETE", f"/clients/{A}")
    assert request.query == {"reason": "moving to node 2 & more"}


def test_shutdown_without_a_reason_leaves_it_to_the_server(fake_api: FakeApi, folder: Path) -> None:
    done = manage(folder, "clients", "shutdown", A, "--json")
    assert fake_api.requests[-1].query == {}
    assert json.loads(done.stdout) == {
        "status": "shutdown_initiated",
        "proxy_id": A,
        "reason": "Closed by an administrator",
    }


def test_a_refused_reason_is_wrong_usage(fake_api: FakeApi, folder: Path) -> None:
    fake_api.answers["DELETE", f"/clients/{A}"] = Reply(400, {"error": "reason: no control characters"})
    done = manage(folder, "clients", "shutdown", A, "--reason", "a\nb")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "trabbits: error: reason: no control characters\n"


def test_the_console_needs_a_terminal(folder: Path) -> None:
    done = manage(folder, "clients", "tui")
    assert done.returncode == 2
    assert "the console needs a terminal" in done.stderr
