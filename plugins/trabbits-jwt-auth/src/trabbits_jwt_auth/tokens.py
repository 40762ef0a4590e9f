"""Whether a token is good, and whose it is.

Source: RFC 7519 (claims), RFC 8725 (what goes wrong with JWTs: the algorithm is never the token's to choose).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jwt
from attrs import frozen
from jwt.exceptions import InvalidTokenError, PyJWTError

from trabbits_jwt_auth.keys import KeySet


class BadToken(Exception):
    """A token that is not accepted; the text says why and holds nothing of the token but its key's id."""


class UnknownKey(BadToken):
    """The key is not in the set: it may have been added a moment ago."""


@frozen
class Rules:
    """What a token has to say.  `issuer` and `audience` None: anything; `leeway` in seconds, for clocks that differ."""

    algorithms: Sequence[str]
    issuer: str | None = None
    audience: str | None = None
    leeway: float = 0.0
    user_claim: str = "sub"


def user_of(token: str, keys: KeySet, rules: Rules) -> str:
    """The user that the token is for.  Raises `BadToken`."""
    claims = _claims(token, keys, rules)
    user = claims.get(rules.user_claim)
    if not isinstance(user, str) or not user:
        raise BadToken(f"the claim '{rules.user_claim}' names no user")
    if "\0" in user or len(user.encode(errors="replace")) > 255:
        raise BadToken(f"the claim '{rules.user_claim}' is no user name that AMQP could carry")
    return user


def _claims(token: str, keys: KeySet, rules: Rules) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, ValueError):
        raise BadToken("it is no JWT") from None
    algorithm, name = header.get("alg"), header.get("kid", "")
    if algorithm not in rules.algorithms:
        raise BadToken(f"its algorithm is not one of {', '.join(rules.algorithms)}")
    if not isinstance(name, str):
        raise BadToken("its key id is no text")
    # A set with a single key needs no ids.
    key = keys.keys.get(name) or (next(iter(keys.keys.values())) if not name and len(keys.keys) == 1 else None)
    if key is None:
        raise UnknownKey(f"its key {name[:64]!r} is not in the key set")
    if key.algorithm_name != algorithm:
        raise BadToken(f"its key is for {key.algorithm_name}")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=rules.issuer,
            audience=rules.audience,
            leeway=rules.leeway,
            options={"require": ["exp"], "verify_aud": rules.audience is not None},
        )
    except (InvalidTokenError, PyJWTError, ValueError) as error:
        raise BadToken(_reason(error)) from None
    return claims


_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is from another issuer",
}


def _reason(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the claim '{error.claim}' is missing"
    return _REASONS.get(type(error), "it cannot be read")
