"""Configurations over the admin API's real socket: shown, compared, replaced, reloaded, and refused without a trace."""

from __future__ import annotations

import json

import pytest

from tests.admin.asking import CHECKED, FAR, json_of, raw, refused
from tests.proxy import ProxyFactory, TrabbitsProcess
from trabbits.api_client import ApiClient


def test_the_configuration_with_secrets_masked(shared: ApiClient) -> None:
    answer = shared.request("GET", "/config")
    assert b"hunter2" not in answer.body
    assert answer.content["upstreams"][1]["health_check"]["password"] == "**********"
    assert answer.headers["etag"].strip('"')


def test_what_was_got_can_be_put_back(proxy: TrabbitsProcess, api: ApiClient) -> None:
    """Its masks stand for the secrets in use; so nothing has changed."""
    answer = api.request("GET", "/config")
    assert api.post("/config/diff", answer.body) == ""
    result = api.put("/config", answer.body)
    assert result == {
        "hash": answer.headers["etag"].strip('"'),
        "changed": False,
        "outdated": 0,
        "warnings": [],
    }
    proxy.wait_for_log(event="config_unchanged")


def test_another_configuration_is_put_to_use(proxy: TrabbitsProcess, api: ApiClient) -> None:
    other = {"upstreams": [{"name": "near", "address": "${NOWHERE}127.0.0.1:1"}], "handshake_timeout": "9s"}
    result = api.put("/config", json.dumps(other).encode())
    assert result["changed"] is True
    assert [warning["path"] for warning in result["warnings"]] == ["upstreams[0].address"]
    assert api.get("/config")["handshake_timeout"] == "9s"
    assert [upstream["name"] for upstream in api.get("/upstreams")] == ["near"]
    assert proxy.wait_for_log(event="config_reloaded")["path"] == "admin API"
    # The file is as it was; a reload goes back to it.
    assert api.post("/config/reload")["changed"] is True
    assert [upstream["name"] for upstream in api.get("/upstreams")] == ["far", "checked"]


def test_jsonnet(api: ApiClient) -> None:
    """With variables of the server's environment, and without its files."""
    text = '{upstreams: [{name: std.native("env")("HIDDEN", "none"), address: "[::1]:" + (0 + 1)}]}'
    assert api.put("/config", text.encode(), "application/jsonnet; charset=utf-8")["changed"] is True
    assert api.get("/upstreams")[0]["name"] == "treasure"
    credentials = {"app": {"password_file": "/etc/hostname"}}
    other = {"upstreams": [{"name": "a", "address": "[::1]:1", "credentials": credentials}, FAR]}
    error = refused(api, "PUT", "/config", json.dumps(other).encode())
    assert error.status == 422
    assert "upstreams[0].credentials.app.password_file: expected a file that the running configuration" in error.text
    for statement in ("import", "importstr"):
        error = refused(api, "PUT", "/config", f'{statement} "/etc/passwd"'.encode(), "application/jsonnet")
        assert error.status == 422
        assert "cannot be imported" in error.text
        assert "root" not in error.text


@pytest.mark.parametrize(
    ("body", "kind", "status", "problem"),
    [
        (b'{"upstreams": []}', "application/json", 422, "upstreams"),
        (
            b'{"upstreams": [{"name": "a", "address": "x", "colour": 1}]}',
            "application/json",
            422,
            "upstreams[0].colour",
        ),
        (b"[]", "application/json", 422, ""),
        (b"{", "application/json", 400, "line 1, column 2"),
        (b"{,}", "application/jsonnet", 422, ""),
        (b"\xff", "application/json", 400, None),
        (b"  ", "application/json", 400, None),
        (b"{}", "text/plain", 415, None),
        (b"{}", "", 415, None),
        (b"a=b", "application/x-www-form-urlencoded", 415, None),
    ],
)
@pytest.mark.parametrize("call", [("PUT", "/config"), ("POST", "/config/diff")])
def test_a_wrong_configuration_changes_nothing(
    shared: ApiClient, call: tuple[str, str], body: bytes, kind: str, status: int, problem: str | None
) -> None:
    before = shared.get("/config")
    error = refused(shared, *call, body, kind)
    assert error.status == status
    assert not error.problems if problem is None else problem in [path for path, _ in error.problems] or not problem
    assert shared.get("/config") == before


def test_a_mask_for_nothing(shared: ApiClient) -> None:
    new = {"name": "new", "address": "[::1]:2", "health_check": {"username": "u", "password": "**********"}}
    config = {"upstreams": [FAR, new]}
    error = refused(shared, "PUT", "/config", json.dumps(config).encode())
    assert error.status == 422
    assert [path for path, _ in error.problems] == ["upstreams[1].health_check.password"]


def test_a_changed_password_shows_without_being_shown(shared: ApiClient) -> None:
    health_check = CHECKED["health_check"]
    config = {"upstreams": [FAR, CHECKED | {"health_check": health_check | {"password": "swordfish"}}]}
    text = shared.post("/config/diff", json.dumps(config).encode())
    assert text.splitlines()[:2] == ["--- running", "+++ given"]
    changed = [line for line in text.splitlines()[2:] if line.startswith(("-", "+"))]
    assert [line.split('"password": ')[1] for line in changed] == ['"**********",', '"********** (another one)",']
    assert "swordfish" not in text


def test_only_if_it_is_still_the_one(proxy: TrabbitsProcess) -> None:
    head = b"PUT /config HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    body = json.dumps({"upstreams": [FAR]}).encode()
    rest = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    status, content = json_of(raw(proxy, head + b'If-Match: "0123456789abcdef"\r\n' + rest))
    assert status == 412
    current = content["error"].split("(")[1].strip(")")
    assert json_of(raw(proxy, head + f'If-Match: "{current}"\r\n'.encode() + rest))[0] == 200


def test_a_reload_wants_a_file(trabbits: ProxyFactory) -> None:
    error = refused(ApiClient(socket=str(trabbits().api_socket)), "POST", "/config/reload")
    assert error.status == 409
    assert "--config" in error.text


def test_a_reload_of_a_wrong_file(proxy: TrabbitsProcess, api: ApiClient) -> None:
    proxy.write_config({"upstreams": []})
    error = refused(api, "POST", "/config/reload")
    assert error.status == 422
    assert [path for path, _ in error.problems] == ["upstreams"]
    assert len(api.get("/upstreams")) == 2
