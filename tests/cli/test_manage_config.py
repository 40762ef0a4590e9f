"""`trabbits manage config`: get, diff, put, reload."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.fake_api import FakeApi, Reply, Request
from tests.cli.samples import manage, on_terminal

DIFF = """\
--- current
+++ given
@@ -1,3 +1,3 @@
 {
-  "frame_max": 131072
+  "frame_max": 65536\x1b[2J
 }
"""


def text(body: str) -> Reply:
    return Reply(body=body.encode(), headers={"Content-Type": "text/plain; charset=utf-8"})


@pytest.fixture
def file(folder: Path) -> Path:
    path = folder / "new.json"
    path.write_text('{"frame_max": 65536}')
    return path


def test_get(fake_api: FakeApi, folder: Path) -> None:
    given = {"upstreams": [{"name": "höme", "health_check": {"password": "**********"}}]}
    fake_api.answers["GET", "/config"] = Reply(body=given)
    done = manage(folder, "config", "get")
    assert (done.returncode, done.stdout) == (0, json.dumps(given, indent=2, ensure_ascii=False) + "\n")


def test_diff_with_differences(fake_api: FakeApi, folder: Path, file: Path) -> None:
    fake_api.answers["POST", "/config/diff"] = text(DIFF)
    done = manage(folder, "config", "diff", str(file))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == DIFF.replace("\x1b", "\\x1b")
    assert fake_api.requests[0].body == file.read_bytes()


def test_diff_is_colored_on_a_terminal(fake_api: FakeApi, folder: Path, file: Path) -> None:
    fake_api.answers["POST", "/config/diff"] = text(DIFF)
    shown, status = on_terminal(folder, "config", "diff", str(file))
    assert status == 1
    assert shown.splitlines() == [
        "\x1b[1m--- current\x1b[0m",
        "\x1b[1m+++ given\x1b[0m",
        "\x1b[36m@@ -1,3 +1,3 @@\x1b[0m",
        " {",
        '\x1b[31m-  "frame_max": 131072\x1b[0m',
        '\x1b[32m+  "frame_max": 65536\\x1b[2J\x1b[0m',
        " }",
    ]
    shown, _ = on_terminal(folder, "config", "diff", str(file), NO_COLOR="1")
    assert "\x1b" not in shown


def test_diff_without_differences(fake_api: FakeApi, folder: Path, file: Path) -> None:
    fake_api.answers["POST", "/config/diff"] = text("")
    done = manage(folder, "config", "diff", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_trouble_is_no_difference(fake_api: FakeApi, folder: Path, file: Path) -> None:
    """Whatever keeps diff from an answer is status 2."""
    assert manage(folder, "config", "diff", str(file)).returncode == 2  # 404
    problems = [{"path": "frame_max", "message": "expected at least 4096"}, {"path": "", "message": "a\x1bb"}]
    fake_api.answers["POST", "/config/diff"] = Reply(422, {"error": "2 errors", "problems": problems})
    done = manage(folder, "config", "diff", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "trabbits: error: 2 errors\n  frame_max: expected at least 4096\n  a\\x1bb\n"
    assert manage(folder, "--api-socket", str(folder / "none"), "config", "diff", str(file)).returncode == 2
    assert manage(folder, "config", "diff", str(folder / "none")).returncode == 2


@pytest.mark.parametrize(
    ("name", "arguments", "content_type"),
    [
        ("a.json", [], "application/json"),
        ("a.conf", [], "application/json"),
        ("a.jsonnet", [], "application/jsonnet"),
        ("a.libsonnet", [], "application/jsonnet"),
        ("a.json", ["--format", "jsonnet"], "application/jsonnet"),
        ("-", [], "application/json"),
        ("-", ["--format", "jsonnet"], "application/jsonnet"),
    ],
)
def test_put_sends_the_file_as_it_is(
    fake_api: FakeApi, folder: Path, name: str, arguments: list[str], content_type: str
) -> None:
    """Variables in it are the server's affair."""
    fake_api.answers["PUT", "/config"] = Reply(body={"hash": "aa", "changed": True, "outdated": 2})
    octets = '{"a": "${HOME} ü"}\n'.encode()
    (folder / "a").mkdir()
    path = name if name == "-" else str(folder / "a" / name)
    if name != "-":
        Path(path).write_bytes(octets)
    done = manage(folder, "config", "put", *arguments, path, stdin=octets)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The new configuration is in use; 2 clients are asked to reconnect.\n"
    request = fake_api.requests[0]
    assert (request.headers["content-type"], request.body) == (content_type, octets)


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ({"changed": True, "outdated": 0}, "The new configuration is in use; no clients are asked to reconnect."),
        ({"changed": True, "outdated": 1}, "The new configuration is in use; 1 client is asked to reconnect."),
        ({}, "The new configuration is in use."),
        ({"changed": False}, "Nothing has changed: the configuration means the same as the one in use."),
    ],
)
def test_what_reload_did(fake_api: FakeApi, folder: Path, answer: object, output: str) -> None:
    fake_api.answers["POST", "/config/reload"] = Reply(body=answer)
    done = manage(folder, "config", "reload")
    assert (done.returncode, done.stdout, done.stderr) == (0, output + "\n", "")
    assert json.loads(manage(folder, "config", "reload", "--json").stdout) == answer


def test_warnings_go_to_standard_error(fake_api: FakeApi, folder: Path, file: Path) -> None:
    warnings = [{"path": "upstreams[0].address", "message": "RABBIT_HOST is not set"}]
    fake_api.answers["PUT", "/config"] = Reply(body={"changed": True, "warnings": warnings})
    done = manage(folder, "config", "put", str(file), "--json")
    assert done.stderr == "trabbits: warning: upstreams[0].address: RABBIT_HOST is not set\n"
    assert json.loads(done.stdout)["warnings"] == warnings


@pytest.mark.parametrize(("status", "code"), [(400, 2), (413, 2), (415, 2), (422, 2), (409, 1), (500, 1), (503, 1)])
def test_refusals(fake_api: FakeApi, folder: Path, file: Path, status: int, code: int) -> None:
    """2 for a configuration that cannot be used, 1 for a server that cannot use it."""
    fake_api.answers["PUT", "/config"] = Reply(status, {"error": "no"})
    done = manage(folder, "config", "put", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "trabbits: error: no\n")


def test_a_refusal_before_the_whole_body_has_come(fake_api: FakeApi, folder: Path) -> None:
    """The server answers, and closes without reading on; the answer is shown."""
    large = folder / "large.json"
    large.write_bytes(b" " * 8_000_000 + b"{}")

    def refuse(request: Request) -> Reply:
        return Reply(413, {"error": "at most 1 MiB"})

    fake_api.unread = True
    fake_api.answers["PUT", "/config"] = refuse
    done = manage(folder, "config", "put", str(large))
    assert (done.returncode, done.stderr) == (2, "trabbits: error: at most 1 MiB\n")


def test_empty_files_and_folders(fake_api: FakeApi, folder: Path) -> None:
    (folder / "empty.json").write_text(" \n")
    for path in ("empty.json", "missing.json", "."):
        assert manage(folder, "config", "put", str(folder / path)).returncode == 2
    assert fake_api.requests == []
