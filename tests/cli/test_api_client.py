"""The client of the admin API: what it sends, what it makes of answers, and its words for what goes wrong."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake_api import FakeApi, Reply, events
from trabbits import api_client
from trabbits.api_client import ApiClient, ApiError, ApiUnreachable, path_of


@pytest.fixture
def client(fake_api: FakeApi, folder: Path) -> ApiClient:
    return ApiClient(socket=str(folder / "api.sock"), timeout=10)


def test_get_with_a_query(fake_api: FakeApi, client: ApiClient) -> None:
    fake_api.answers["GET", "/clients"] = Reply(body=[1, 2], headers={"X-Total-Count": "10000"})
    assert client.get("/clients", limit=2, q="a&b =ü", sort=None) == [1, 2]
    assert client.request("GET", "/clients").total == 10000
    request = fake_api.requests[0]
    assert request.query == {"limit": "2", "q": "a&b =ü"}
    assert "authorization" not in request.headers


def test_bodies_have_the_given_type(fake_api: FakeApi, client: ApiClient) -> None:
    fake_api.answers["PUT", "/config"] = Reply(body={})
    fake_api.answers["POST", "/config/diff"] = Reply(body=b"+a\n", headers={"Content-Type": "text/plain"})
    assert client.put("/config", b"{a: 1}", "application/jsonnet") == {}
    assert client.post("/config/diff", b"{}") == "+a\n"
    assert [(request.headers["content-type"], request.body) for request in fake_api.requests] == [
        ("application/jsonnet", b"{a: 1}"),
        ("application/json", b"{}"),
    ]


def test_a_post_without_a_body_has_no_type(fake_api: FakeApi, client: ApiClient) -> None:
    fake_api.answers["POST", "/config/reload"] = Reply(body={})
    client.post("/config/reload")
    assert "content-type" not in fake_api.requests[0].headers
    assert fake_api.requests[0].headers["content-length"] == "0"


def test_parts_of_a_path_may_hold_anything(fake_api: FakeApi, client: ApiClient) -> None:
    fake_api.answers["DELETE", "/clients/ä/ ?"] = Reply(202, {"status": "shutdown_initiated"})
    assert path_of("clients", "ä/ ?") == "/clients/%C3%A4%2F%20%3F"
    assert client.delete(path_of("clients", "ä/ ?"), reason="a b") == {"status": "shutdown_initiated"}


def test_errors_have_status_text_and_problems(fake_api: FakeApi, client: ApiClient) -> None:
    fake_api.answers["PUT", "/config"] = Reply(
        422, {"error": "2 errors", "problems": [{"path": "upstreams[0].name", "message": "expected text"}, "x"]}
    )
    with pytest.raises(ApiError) as caught:
        client.put("/config", b"{}")
    assert (caught.value.status, caught.value.text) == (422, "2 errors")
    assert caught.value.problems == (("upstreams[0].name", "expected text"),)


@pytest.mark.parametrize("body", [b"<html>", b"\xff", {"error": 1}, [], b'{"error"'])
def test_an_error_of_something_else_is_told_by_its_status(fake_api: FakeApi, client: ApiClient, body: object) -> None:
    fake_api.answers["GET", "/x"] = Reply(502, body)
    with pytest.raises(ApiError) as caught:
        client.get("/x")
    assert caught.value.text == "502 Bad Gateway"


def test_redirections_are_not_followed(fake_api: FakeApi, client: ApiClient) -> None:
    """A token stays with the server that it was given for."""
    fake_api.answers["GET", "/x"] = Reply(302, {}, {"Location": "http://127.0.0.1:1/"})
    with pytest.raises(ApiError, match="302 Found"):
        client.get("/x")


def test_a_broken_answer(fake_api: FakeApi, client: ApiClient) -> None:
    fake_api.answers["GET", "/x"] = Reply(200, b"{")
    with pytest.raises(ApiUnreachable, match="not with what trabbits would send"):
        client.get("/x")


def test_an_endless_answer_is_refused(fake_api: FakeApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "MAXIMUM_ANSWER", 10)
    fake_api.answers["GET", "/x"] = Reply(200, "0123456789")
    with pytest.raises(ApiUnreachable, match="larger than 10 bytes"):
        client.get("/x")


def test_a_token_over_tcp(fake_tcp_api: FakeApi) -> None:
    fake_tcp_api.answers["GET", "/behind/x"] = Reply(body=1)
    client = ApiClient(url=fake_tcp_api.url + "/behind/", token="s3cret")
    assert client.get("/x") == 1
    assert fake_tcp_api.requests[0].headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(client)


@pytest.mark.parametrize("token", ["", "a b", "s3cret\r\nX: y", "s3cret\n", "s3crét"])
def test_an_impossible_token_is_refused_without_telling_it(token: str) -> None:
    with pytest.raises(ValueError) as caught:
        ApiClient(url="http://localhost:1", token=token)
    assert str(caught.value) == "a token is printable ASCII without spaces"


@pytest.mark.parametrize(
    "url", ["", "localhost:16693", "ftp://a", "http://", "http://a:x", "http://u:p@a", "http://a/?b", "http://a/#b"]
)
def test_impossible_urls(url: str) -> None:
    with pytest.raises(ValueError):
        ApiClient(url=url)


# ------------------------------------------------------------------------------------------------------- unreachable


def why(path: Path) -> str:
    with pytest.raises(ApiUnreachable) as caught:
        ApiClient(socket=str(path), timeout=0.2).get("/")
    return caught.value.text


def test_no_such_socket(folder: Path) -> None:
    text = why(folder / "none.sock")
    assert text.startswith(f"{folder}/none.sock: no such socket. Is trabbits running? ")
    assert "--api-socket" in text


def test_a_stale_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "stale.sock"))
    text = why(folder / "stale.sock")
    assert "nobody listens there any more" in text
    assert "--api-socket" in text


def test_not_a_socket(folder: Path) -> None:
    (folder / "file").touch()
    assert "file: not a socket" in why(folder / "file")
    assert "file/x: no such socket" in why(folder / "file" / "x")


def test_a_path_that_is_too_long(folder: Path) -> None:
    assert "too long" in why(folder / ("x" * 200))
    assert "not a socket" in why(folder / "\0")


def test_no_permission_names_the_owner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root nothing is forbidden, so the refusal is played."""

    def refuse(self: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("trabbits.api_client._UnixConnection.connect", refuse)
    (folder / "api.sock").touch()
    text = why(folder / "api.sock")
    assert "no permission, it belongs to the user " in text
    assert "Run this as the user that trabbits runs as" in text
    monkeypatch.setattr(os, "stat", lambda path: (_ for _ in ()).throw(PermissionError()))
    assert "no permission. Run" in why(folder / "api.sock")


def test_nobody_answers(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "api.sock"))
        listener.listen(0)
        assert "no answer within 0.2 s" in why(folder / "api.sock")
        assert "nobody accepts the connection" in why(folder / "api.sock")


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "closed the connection before its answer was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "closed the connection before its answer was complete"),
        (b"AMQP\0\0\x09\x01", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "no usable answer from"),
    ],
)
def test_wrong_answers(folder: Path, octets: bytes, text: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "api.sock"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(octets)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert text in why(folder / "api.sock")
        thread.join(5)


def test_nobody_at_the_url() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ApiUnreachable, match="is trabbits running there") as caught:
            ApiClient(url=f"http://127.0.0.1:{port}").get("/")
    assert f"http://127.0.0.1:{port}" in caught.value.text


def test_tls_to_a_plain_port_says_so(fake_tcp_api: FakeApi) -> None:
    url = fake_tcp_api.url.replace("http", "https")
    with pytest.raises(ApiUnreachable, match="no TLS there"):
        ApiClient(url=url, timeout=5).get("/")
    with pytest.raises(ValueError, match="no certificates to be read there"):
        ApiClient(url=url, ca_file="/nowhere")


# ------------------------------------------------------------------------------------------------------------ events


def test_events_in_any_pieces(fake_api: FakeApi, client: ApiClient) -> None:
    """Comments are passed over, events may come in pieces, and the end of the stream ends the iteration."""
    wanted = [{"n": number, "text": "a\nü"} for number in range(50)]
    fake_api.answers["GET", "/logs"] = events(*wanted)
    with client.stream("/logs", level="info") as stream:
        assert list(stream) == wanted
    assert fake_api.requests[0].query == {"level": "info"}
    assert fake_api.requests[0].headers["accept"] == "text/event-stream"


def streaming(*pieces: bytes, then: threading.Event | None = None) -> Reply:
    def given() -> Iterator[bytes]:
        yield from pieces
        if then is not None:
            then.wait(10)
            raise ConnectionError

    return Reply(headers={"Content-Type": "text/event-stream"}, events=given())


def test_fields_of_events(fake_api: FakeApi, client: ApiClient) -> None:
    """Line ends of both kinds, several data lines, other fields; an event that is not complete doesn't count."""
    fake_api.answers["GET", "/logs"] = streaming(
        b'event: a\r\nid: 1\r\ndata: {"a":\r\ndata: 1}\r\n\r\n', b'\n\ndata:{"b": 2}\n\n', b'data: {"c": 3}\n'
    )
    with client.stream("/logs") as stream:
        assert list(stream) == [{"a": 1}, {"b": 2}]


def test_a_stream_that_breaks_off(fake_api: FakeApi, client: ApiClient) -> None:
    broken = threading.Event()
    broken.set()
    fake_api.answers["GET", "/logs"] = streaming(b'data: {"a": 1}\n\n', then=broken)
    with client.stream("/logs") as stream:
        assert next(stream) == {"a": 1}
        with pytest.raises(ApiUnreachable, match="broke off"):
            next(stream)


def test_another_thread_closes_a_waiting_stream(fake_api: FakeApi, client: ApiClient) -> None:
    end = threading.Event()
    fake_api.answers["GET", "/logs"] = streaming(b'data: {"a": 1}\n\n', then=end)
    first = threading.Event()
    got: list[object] = []

    def read() -> None:
        for event in stream:
            got.append(event)
            first.set()

    with client.stream("/logs") as stream:
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        assert first.wait(10)
        stream.close()
        thread.join(10)
        assert not thread.is_alive()
    assert got == [{"a": 1}]
    end.set()


def test_silence_is_noticed(fake_api: FakeApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "STREAM_TIMEOUT", 0.1)
    end = threading.Event()
    fake_api.answers["GET", "/logs"] = streaming(b": alive\n\n", then=end)
    with client.stream("/logs") as stream, pytest.raises(ApiUnreachable, match=r"nothing heard .* for 0\.1 s"):
        next(stream)
    end.set()


@pytest.mark.parametrize("octets", [b"data: 1\n\n", b"data: {\n\n", b"data: \xff\n\n", b"data: " + b"x" * 200])
def test_what_is_no_event(fake_api: FakeApi, client: ApiClient, octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "MAXIMUM_EVENT", 100)
    fake_api.answers["GET", "/logs"] = streaming(octets)
    with client.stream("/logs") as stream, pytest.raises(ApiUnreachable, match="no event of trabbits"):
        list(stream)


def test_no_stream(fake_api: FakeApi, client: ApiClient) -> None:
    with pytest.raises(ApiError, match="nothing at /clients/x/probe"):
        client.stream("/clients/x/probe")
    fake_api.answers["GET", "/logs"] = Reply(body={})
    with pytest.raises(ApiUnreachable, match="sends no events"):
        client.stream("/logs")
