"""Which key sets are taken."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from making import Signer, write_keys

from trabbits_jwt_auth.keys import SIZE_LIMIT, KeySet, parse

ONE = Signer("one")
TWO = Signer("two")
SECRET = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "s", "alg": "HS256"}


def octets(*keys: Any) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def test_keys_have_their_ids(tmp_path: Path) -> None:
    keys = KeySet(str(write_keys(tmp_path / "keys.json", ONE, TWO))).read()
    assert {name: key.algorithm_name for name, key in keys.items()} == {"one": "ES256", "two": "ES256"}


def test_what_is_of_no_use_is_passed_over() -> None:
    odd = [{"kty": "new"}, {"kty": "EC"}, {**TWO.public, "use": "enc"}, {**TWO.public, "alg": 7}, SECRET]
    assert list(parse(octets(*odd, ONE.public), "x")) == ["one"]


def test_secret_keys_are_only_taken_where_they_are_wanted() -> None:
    with pytest.raises(ValueError, match="no key that signatures can be checked with"):
        parse(octets(SECRET), "x")
    assert list(parse(octets(SECRET), "x", public_only=False)) == ["s"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "keys is no JSON"),
        (b"[" * 100_000, "keys is no JSON"),
        (b"[]", "keys is no key set"),
        (b'{"keys": 3}', "keys is no key set"),
        (b'{"keys": [3]}', "keys is no key set"),
        (b'{"keys": []}', "no key that signatures"),
        (octets(ONE.public, ONE.public), "two keys with the id 'one'"),
    ],
    ids=["empty", "deep", "list", "number", "numbers", "none", "twice"],
)
def test_a_wrong_set_is_explained(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text, "keys")


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        KeySet(str(tmp_path / "nowhere")).read()
    huge = tmp_path / "huge"
    huge.write_bytes(b" " * (SIZE_LIMIT + 1))
    with pytest.raises(ValueError, match="is larger than"):
        KeySet(str(huge)).read()


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/keys":
                self.send_error(404)
                return
            body = octets(ONE.public)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the test's output."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def test_keys_come_over_http(server: http.server.ThreadingHTTPServer) -> None:
    base = f"http://127.0.0.1:{server.server_address[1]}"
    assert list(KeySet(f"{base}/keys").read()) == ["one"]
    with pytest.raises(ValueError, match="cannot be read: HTTP Error 404"):
        KeySet(f"{base}/other").read()
