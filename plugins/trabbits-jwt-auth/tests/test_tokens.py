"""Which tokens are accepted, and why others are not."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from making import Signer, write_keys

from trabbits_jwt_auth.keys import KeySet
from trabbits_jwt_auth.tokens import BadToken, Rules, UnknownKey, user_of

ONE = Signer("one")
OTHER = Signer("other")
RULES = Rules(("ES256", "RS256"))


def part(octets: bytes) -> str:
    """Octets as they stand in a token."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


@pytest.fixture
def keys(tmp_path: Path) -> KeySet:
    source = KeySet(str(write_keys(tmp_path / "keys.json", ONE)))
    source.keys = source.read()
    return source


def test_a_good_token_names_its_user(keys: KeySet) -> None:
    assert user_of(ONE.token("app"), keys, RULES) == "app"


def test_the_only_key_needs_no_id(keys: KeySet) -> None:
    assert user_of(ONE.token("app", kid=""), keys, RULES) == "app"


def test_another_claim_may_hold_the_user(keys: KeySet) -> None:
    rules = Rules(("ES256",), user_claim="client_id")
    assert user_of(ONE.token("sub", client_id="orders"), keys, rules) == "orders"


@pytest.mark.parametrize(
    ("claims", "rules", "why"),
    [
        ({"exp": 1}, RULES, "it has expired"),
        ({"exp": None}, RULES, "the claim 'exp' is missing"),
        ({"nbf": 2**40}, RULES, "it is not valid yet"),
        ({"iss": "them"}, Rules(("ES256",), issuer="us"), "it is from another issuer"),
        ({}, Rules(("ES256",), issuer="us"), "the claim 'iss' is missing"),
        ({"aud": ["a", "b"]}, Rules(("ES256",), audience="trabbits"), "it is for another audience"),
        ({}, Rules(("ES256",), audience="trabbits"), "the claim 'aud' is missing"),
        ({}, Rules(("ES256",), user_claim="client_id"), "the claim 'client_id' names no user"),
        ({"client_id": 3}, Rules(("ES256",), user_claim="client_id"), "the claim 'client_id' names no user"),
        ({"sub": ""}, RULES, "the claim 'sub' names no user"),
        ({"sub": "a\0b"}, RULES, "no user name that AMQP could carry"),
        ({"sub": "x" * 256}, RULES, "no user name that AMQP could carry"),
        ({}, Rules(("RS256",)), "its algorithm is not one of RS256"),
    ],
)
def test_why_a_token_is_refused(keys: KeySet, claims: dict[str, Any], rules: Rules, why: str) -> None:
    with pytest.raises(BadToken, match=why):
        user_of(ONE.token(**{"user": "app", **claims}), keys, rules)


def test_clocks_may_differ_by_the_leeway(keys: KeySet) -> None:
    token = ONE.token(exp=int(time.time()) - 30)
    assert user_of(token, keys, Rules(("ES256",), leeway=60)) == "app"


def test_what_is_meant_for_us_is_accepted(keys: KeySet) -> None:
    rules = Rules(("ES256",), issuer="us", audience="trabbits")
    assert user_of(ONE.token(iss="us", aud=["trabbits", "other"]), keys, rules) == "app"


@pytest.mark.parametrize("text", ["", "no token", "a.b.c", "ä.ö.ü", "." * 10, "x" * 10000])
def test_what_is_no_token(keys: KeySet, text: str) -> None:
    with pytest.raises(BadToken):
        user_of(text, keys, RULES)


def test_a_key_that_is_not_there_is_told_from_a_wrong_signature(keys: KeySet) -> None:
    with pytest.raises(UnknownKey, match="'other' is not in the key set"):
        user_of(OTHER.token(), keys, RULES)
    with pytest.raises(BadToken, match="its signature is wrong"):
        user_of(OTHER.token(kid="one"), keys, RULES)


def test_a_changed_token_is_refused(keys: KeySet) -> None:
    head, _, signature = ONE.token().split(".")
    claims = part(json.dumps({"sub": "admin", "exp": 2**33}).encode())
    with pytest.raises(BadToken, match="its signature is wrong"):
        user_of(f"{head}.{claims}.{signature}", keys, RULES)


def test_the_algorithm_is_not_the_tokens_to_choose(keys: KeySet) -> None:
    nobody = jwt.encode({"sub": "admin", "exp": 2**33}, None, algorithm="none")
    with pytest.raises(BadToken, match="its algorithm"):
        user_of(nobody, keys, RULES)
    # The public key, which everybody has, as the secret of another algorithm. No library signs that, so by hand.
    head = part(json.dumps({"alg": "HS256", "kid": "one"}).encode())
    claims = part(json.dumps({"sub": "admin", "exp": 2**33}).encode())
    signature = hmac.digest(json.dumps(ONE.public).encode(), f"{head}.{claims}".encode(), "sha256")
    forged = f"{head}.{claims}.{part(signature)}"
    with pytest.raises(BadToken, match="its key is for ES256"):
        user_of(forged, keys, Rules(("ES256", "HS256")))
