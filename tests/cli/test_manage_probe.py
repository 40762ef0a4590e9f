"""`trabbits manage clients probe`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cli.fake_api import FakeApi, Reply, events
from tests.cli.samples import ROOT, client, environment, manage, on_terminal, serve_clients

A = "proxy-00aa00aa00aa00aa"
ENDED = {"type": "proxy_ended"}


def method(direction: str, name: str, upstream: str = "", **arguments: Any) -> dict[str, Any]:
    return {
        "type": "method",
        "time": "2026-05-04T07:12:44.120345Z",
        "direction": direction,
        "upstream": upstream,
        "channel": 1,
        "method": name,
        "arguments": arguments,
    }


EVENTS = [
    method("c→t", "Basic.Publish", exchange="", routing_key="orders eu\x1b", mandatory=False),
    method("t→u", "Basic.Publish", "primary", routing_key="ü"),
    {"type": "dropped", "count": 12},
    method("t→c", "Channel.OpenOk"),
    {"type": "news", "of": "tomorrow"},
    ENDED,
]


def serve(api: FakeApi, reply: Reply) -> None:
    serve_clients(api, client(A))
    api.answers["GET", f"/clients/{A}/probe"] = reply


def test_events_as_text(fake_api: FakeApi, folder: Path) -> None:
    serve(fake_api, events(*EVENTS))
    done = manage(folder, "clients", "probe", "00aa")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        '07:12:44.120345 c→t channel 1 Basic.Publish exchange="" routing_key="orders eu\\u001b" mandatory=false',
        "07:12:44.120345 t→u primary channel 1 Basic.Publish routing_key=ü",
        "12 events were not shown: too many at once",
        "07:12:44.120345 t→c channel 1 Channel.OpenOk",
        '{"type": "news", "of": "tomorrow"}',
        "the client has left",
    ]


def test_events_on_a_terminal_have_colors(fake_api: FakeApi, folder: Path) -> None:
    serve(fake_api, events(*EVENTS))
    shown, status = on_terminal(folder, "clients", "probe", A)
    assert status == 0
    assert "\x1b[36mc→t\x1b[0m channel 1 \x1b[1mBasic.Publish\x1b[0m" in shown


def test_events_as_json_are_one_object_a_line(fake_api: FakeApi, folder: Path) -> None:
    serve(fake_api, events(*EVENTS))
    done = manage(folder, "clients", "probe", A, "--format", "json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == EVENTS


def test_without_the_arrow_in_the_encoding(fake_api: FakeApi, folder: Path) -> None:
    serve(fake_api, events(*EVENTS))
    done = manage(folder, "clients", "probe", A, PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines()[0].startswith("07:12:44.120345 c>t channel 1")


def test_a_client_that_has_left(fake_api: FakeApi, folder: Path) -> None:
    """It is in no list any more; the server knows its id."""
    serve(fake_api, events(EVENTS[0], ENDED))
    fake_api.clients = []
    assert manage(folder, "clients", "probe", A).returncode == 0
    done = manage(folder, "clients", "probe", "proxy-zz")
    assert (done.returncode, done.stderr) == (1, "trabbits: error: nothing at /clients/proxy-zz/probe\n")


def test_a_stream_that_ends_too_early_is_an_error(fake_api: FakeApi, folder: Path) -> None:
    serve(fake_api, events(EVENTS[0]))
    done = manage(folder, "clients", "probe", A)
    assert done.returncode == 1
    assert done.stderr == f"trabbits: error: {folder}/api.sock ended the stream; did trabbits stop?\n"


def test_ctrl_c_ends_watching(fake_api: FakeApi, folder: Path) -> None:
    """Events are shown at once, and an interrupt is no failure."""
    end = threading.Event()

    def forever() -> Iterator[bytes]:
        yield f"data: {json.dumps(EVENTS[0])}\n\n".encode()
        end.wait(60)

    serve(fake_api, Reply(headers={"Content-Type": "text/event-stream"}, events=forever()))
    command = [sys.executable, "-m", "trabbits", "manage", "--api-socket", str(folder / "api.sock")]
    with subprocess.Popen(
        [*command, "clients", "probe", A], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"Basic.Publish" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
        assert (process.returncode, rest, errors) == (0, b"", b"")
    end.set()
