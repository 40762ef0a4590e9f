"""The mechanism behind trabbits' interface: what clients say, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from making import Signer, write_keys
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from trabbits.interfaces import Challenge, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.plugins.declaring import PluginContext
from trabbits_jwt_auth import JwtMechanism, JwtOptions, jwt, make

ONE = Signer("one")
PEER = Peer(address="127.0.0.1:5000", tls=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys.json", ONE)


def made(file: Path, **options: Any) -> JwtMechanism:
    return make(JwtOptions(keys=str(file), **options), PluginContext(upstreams=("a", "b")))


def bearer(token: str, user: str = "") -> bytes:
    return f"n,{f'a={user}' if user else ''},\x01auth=Bearer {token}\x01\x01".encode()


def test_it_is_what_it_says(file: Path) -> None:
    for name in ("PLAIN", "OAUTHBEARER"):
        mechanism = made(file, mechanism=name)
        assert verifyObject(IAuthMechanism, mechanism)
        assert verifyObject(IAuthExchange, mechanism.begin(PEER))
        assert (mechanism.name, mechanism.needs_tls) == (name, True)
    assert jwt.provides is IAuthMechanism


@pytest.mark.parametrize("claimed", ["app", ""])
def test_a_token_as_password_proves_its_user(file: Path, claimed: str) -> None:
    answer = made(file).begin(PEER).respond(f"\0{claimed}\0{ONE.token('app')}".encode())
    assert answer == Identity(user="app", credentials=None, verified=True)


def test_the_token_may_be_passed_on(file: Path) -> None:
    token = ONE.token("app")
    answer = made(file, pass_token=True).begin(PEER).respond(f"\0app\0{token}".encode())
    assert isinstance(answer, Identity)
    assert answer.credentials is not None
    assert (answer.credentials.username, answer.credentials.password) == ("app", token)
    assert token not in repr(answer)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (f"\0other\0{ONE.token('app')}", "it is another user's"),
        ("\0app\0guest", "it is no JWT"),
        ("guest", "the response is not NUL user NUL token"),
        (f"\0app\0{ONE.token('app', exp=1)}", "it has expired"),
    ],
)
def test_refusals_say_why(file: Path, response: str, why: str) -> None:
    answer = made(file).begin(PEER).respond(response.encode())
    assert isinstance(answer, Refusal)
    assert answer == Refusal(403, f"ACCESS_REFUSED - the token is not accepted: {why}")


@pytest.mark.parametrize("claimed", ["app", ""])
def test_oauthbearer_with_a_good_token_is_one_step(file: Path, claimed: str) -> None:
    answer = made(file, mechanism="OAUTHBEARER").begin(PEER).respond(bearer(ONE.token("app"), claimed))
    assert answer == Identity(user="app", credentials=None, verified=True)


def test_oauthbearer_tells_of_a_bad_token_before_it_refuses(file: Path) -> None:
    exchange = made(file, mechanism="OAUTHBEARER").begin(PEER)
    challenge = exchange.respond(bearer(ONE.token("app", exp=1)))
    assert isinstance(challenge, Challenge)
    assert json.loads(challenge.octets) == {"status": "invalid_token"}
    # Whatever comes now, it is over; a good token as well.
    answer = exchange.respond(bearer(ONE.token("app")))
    assert isinstance(answer, Refusal)
    assert answer == Refusal(403, "ACCESS_REFUSED - the token is not accepted: it has expired")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keys": ""},
        {"keys": "k", "mechanism": "EXTERNAL"},
        {"keys": "k", "algorithms": []},
        {"keys": "k", "algorithms": ["none"]},
        {"keys": "k", "interval": 0},
        {"keys": "k", "issuer": 3},
        {"keys": "k", "secret": "x"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JwtOptions.model_validate(options)


def test_a_file_that_is_wrong_is_told_when_it_is_configured(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        made(tmp_path / "nowhere.json")
