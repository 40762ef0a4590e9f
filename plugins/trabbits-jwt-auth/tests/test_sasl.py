"""What is read from SASL responses, and which are none."""

from __future__ import annotations

import pytest

from trabbits_jwt_auth.sasl import RESPONSE_MAX, Malformed, Presented, oauthbearer, plain


@pytest.mark.parametrize(
    ("response", "presented"),
    [
        (b"\0app\0tok", Presented("tok", "app")),
        (b"\0\0tok", Presented("tok", "")),
        ("\0ä\0tok".encode(), Presented("tok", "ä")),
        (b"\0app\0", Presented("", "app")),
    ],
)
def test_plain_has_the_token_as_password(response: bytes, presented: Presented) -> None:
    assert plain(response) == presented


@pytest.mark.parametrize(
    "response", [b"", b"app\0tok", b"admin\0app\0tok", b"\0app\0tok\0", b"\0\xff\0tok", b"\0a\0" + b"x" * RESPONSE_MAX]
)
def test_what_is_no_plain_response(response: bytes) -> None:
    with pytest.raises(Malformed):
        plain(response)


@pytest.mark.parametrize(
    ("response", "presented"),
    [
        (b"n,,\x01auth=Bearer tok\x01\x01", Presented("tok")),
        (b"n,a=app,\x01host=h\x01port=5671\x01auth=Bearer tok\x01\x01", Presented("tok", "app")),
        (b"y,a=a=2Cb=3Dc,\x01auth=bearer  tok\x01\x01", Presented("tok", "a,b=c")),
    ],
)
def test_oauthbearer_says_it_in_pairs(response: bytes, presented: Presented) -> None:
    assert oauthbearer(response) == presented


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\x01",
        b"n,,\x01auth=Bearer tok\x01",
        b"n,,\x01auth=Basic tok\x01\x01",
        b"n,,\x01host=h\x01\x01",
        b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
        b"p=x,,\x01auth=Bearer tok\x01\x01",
        b"n,b=app,\x01auth=Bearer tok\x01\x01",
        b"n,a=\xff,\x01auth=Bearer tok\x01\x01",
    ],
)
def test_what_is_no_oauthbearer_response(response: bytes) -> None:
    with pytest.raises(Malformed) as raised:
        oauthbearer(response)
    assert "tok" not in str(raised.value)


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Presented("secret", "app"))
