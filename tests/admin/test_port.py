"""The admin API over TCP: the token, TLS, and reloads that change both, with a running proxy."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.proxy import ProxyFactory
from trabbits.api_client import ApiClient, ApiError, ApiUnreachable
from trabbits.testing.raw_client import eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

FAR = {"name": "far", "address": "[::1]:1"}
TOKEN = "t0p-secret"


def config(**admin: Any) -> dict[str, Any]:
    return {"upstreams": [FAR], "admin": admin}


LISTENING = config(listen="127.0.0.1:0", token=TOKEN)


def url(proxy: TrabbitsProcess, after: int = 0) -> str:
    """Where the API is, says the log."""
    said = proxy.wait_for_log(event="api_listening", after=after, address=lambda address: address.startswith("http"))
    return str(said["address"])


def certificate(folder: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trabbits test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    (folder / "key.pem").chmod(stat.S_IRUSR)
    return str(folder / "certificate.pem"), str(folder / "key.pem")


def test_with_the_token_everything_without_it_nothing(trabbits: ProxyFactory) -> None:
    proxy = trabbits(LISTENING)
    where = url(proxy)
    api = ApiClient(url=where, token=TOKEN)
    assert api.get("/clients") == []
    for token in (None, "wrong", TOKEN + "x", TOKEN[:-1]):
        for path in ("/", "/clients", "/config", "/health/live", "/openapi.json", "/nothing", "/logs"):
            with pytest.raises(ApiError) as caught:
                ApiClient(url=where, token=token).get(path)
            assert caught.value.status == 401
            assert TOKEN not in caught.value.text
    proxy.wait_for_log(event="api_refused")
    assert TOKEN not in json.dumps(proxy.logs)
    # It is masked, and the UNIX socket asks for none.
    assert ApiClient(socket=str(proxy.api_socket)).get("/config")["admin"]["token"] == "**********"


@pytest.fixture(scope="module")
def calm_port() -> Iterator[str]:
    """Where one proxy listens, for small questions that leave nothing behind."""
    proxy = TrabbitsProcess(LISTENING)
    try:
        yield url(proxy.start())
    finally:
        proxy.close()


@pytest.mark.parametrize("header", [f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN} x", f"bearer  {TOKEN}"])
def test_the_header_is_taken_as_the_standard_has_it(calm_port: str, header: str) -> None:
    host, _, port = calm_port.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        request = f"GET /health/live HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    right = header.startswith("bearer ")
    assert answer.startswith(b"HTTP/1.1 200 " if right else b"HTTP/1.1 401 ")
    assert right or b"\r\nWWW-Authenticate: Bearer" in answer.replace(b"Www-Authenticate", b"WWW-Authenticate")


def test_over_tls(trabbits: ProxyFactory, tmp_path: Path) -> None:
    file, key = certificate(tmp_path)
    proxy = trabbits(config(listen="127.0.0.1:0", token=TOKEN, tls={"certificate": file, "key": key}))
    where = url(proxy)
    assert where.startswith("https://127.0.0.1:")
    api = ApiClient(url=where, token=TOKEN, ca_file=file)
    assert api.get("/health/live") == {"status": "live"}
    with api.stream("/logs") as lines:
        assert next(lines)["event"] == "config_loaded"
    with pytest.raises(ApiUnreachable, match="not trusted"):
        ApiClient(url=where, token=TOKEN).get("/clients")
    with pytest.raises((ApiUnreachable, ApiError)):
        ApiClient(url=where.replace("https", "http"), token=TOKEN).get("/clients")


def test_a_reload_changes_it(trabbits: ProxyFactory, tmp_path: Path) -> None:
    """On, another token, TLS on the same port, off; the socket's API sees it all."""
    proxy = trabbits({"upstreams": [FAR]})
    api = ApiClient(socket=str(proxy.api_socket))

    def put(content: dict[str, Any]) -> None:
        assert api.put("/config", json.dumps(content).encode())["changed"] is True

    put(LISTENING)
    where = url(proxy)
    assert ApiClient(url=where, token=TOKEN).get("/clients") == []

    port = where.rpartition(":")[2]
    put(config(listen=f"127.0.0.1:{port}", token="another"))
    eventually(lambda: ApiClient(url=where, token="another").get("/clients") == [])
    with pytest.raises(ApiError) as caught:
        ApiClient(url=where, token=TOKEN).get("/clients")
    assert caught.value.status == 401

    file, key = certificate(tmp_path)
    put(config(listen=f"127.0.0.1:{port}", token="another", tls={"certificate": file, "key": key}))
    secure = ApiClient(url=where.replace("http", "https"), token="another", ca_file=file)
    assert secure.get("/clients") == []
    # A mask stands for the token in use.
    put(secure.get("/config") | {"heartbeat": 7})
    assert secure.get("/config")["heartbeat"] == 7

    put({"upstreams": [FAR]})
    with pytest.raises(ApiUnreachable):
        secure.get("/clients")
    assert api.get("/config")["admin"]["listen"] is None
    assert proxy.terminate() == 0


def test_the_answer_to_what_closes_the_port_arrives(trabbits: ProxyFactory) -> None:
    """... also at those who asked for it there; their streams end."""
    proxy = trabbits(LISTENING)
    api = ApiClient(url=url(proxy), token=TOKEN)
    with api.stream("/logs") as lines:
        next(lines)
        body = json.dumps({"upstreams": [FAR]}).encode()
        assert api.put("/config", body)["changed"] is True
        assert len(list(lines)) < 50


def test_what_cannot_be_had_changes_nothing(trabbits: ProxyFactory, tmp_path: Path) -> None:
    proxy = trabbits(LISTENING)
    before = url(proxy)
    api = ApiClient(socket=str(proxy.api_socket))
    file, key = certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, wrong_key = certificate(other)
    (tmp_path / "empty").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong: dict[str, dict[str, Any]] = {
            "admin.listen": {"listen": f"127.0.0.1:{taken.getsockname()[1]}"},
            "admin.tls.certificate": {"tls": {"certificate": str(tmp_path / "none"), "key": key}},
            "admin.tls.key": {"tls": {"certificate": file, "key": wrong_key}},
        }
        for place, change in wrong.items():
            with pytest.raises(ApiError) as caught:
                api.put("/config", json.dumps(config(**{"listen": "127.0.0.1:0", "token": TOKEN} | change)).encode())
            assert caught.value.status == 422
            assert [path for path, _ in caught.value.problems] == [place]
        for tls in ({"certificate": str(tmp_path / "empty"), "key": key}, {"certificate": file, "key": file}):
            with pytest.raises(ApiError, match="PEM"):
                api.put("/config", json.dumps(config(listen="127.0.0.1:0", token=TOKEN, tls=tls)).encode())
    assert ApiClient(url=before, token=TOKEN).get("/config") == api.get("/config")


def test_a_port_that_is_taken_is_an_error_at_the_start(trabbits: ProxyFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        proxy = trabbits(config(listen=where, token=TOKEN), start=False)
        assert proxy.spawn().wait() == 1
        assert f"admin.listen: cannot listen on {where}: Address already in use" in proxy.log_text
        assert not proxy.api_socket.exists()


@pytest.mark.parametrize(
    ("admin", "text"),
    [
        ({"listen": "127.0.0.1:1"}, "admin.token: expected a token"),
        ({"listen": "127.0.0.1", "token": "x"}, "admin.listen: expected"),
        ({"listen": "127.0.0.1:1", "token": "hunter two"}, "admin.token: expected printable ASCII"),
        ({"listen": "127.0.0.1:1", "token": ""}, "admin.token: expected"),
        ({"listen": "127.0.0.1:1", "token": "x", "tls": {"key": "k"}}, "admin.tls.certificate: missing"),
    ],
)
def test_a_wrong_section(trabbits: ProxyFactory, admin: dict[str, Any], text: str) -> None:
    proxy = trabbits(config(**admin), start=False)
    assert proxy.spawn().wait() == 2
    assert text in proxy.log_text
    assert "hunter" not in proxy.log_text
