"""An authentication mechanism for trabbits: clients log in with a JSON Web Token (RFC 7519).

The token comes as PLAIN's password, as RabbitMQ's OAuth 2 backend has it, or by OAUTHBEARER (RFC 7628). It is checked
against a key set (RFC 7517) that is read again and again, so keys can be changed at any time. Nothing of trabbits is
used but its public contract: ``trabbits.interfaces`` and ``trabbits.plugins.declaring``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Literal

from attrs import define, frozen
from pydantic import AfterValidator, Field
from zope.interface import implementer

from trabbits.interfaces import Challenge, Credentials, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions
from trabbits_jwt_auth import sasl
from trabbits_jwt_auth.keys import KeySet, is_url
from trabbits_jwt_auth.refreshing import Refresh
from trabbits_jwt_auth.tokens import BadToken, Rules, UnknownKey, user_of

__all__ = ["JwtMechanism", "JwtOptions", "jwt", "make"]

_Public = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_Secret = Literal["HS256", "HS384", "HS512"]
Algorithm = _Public | _Secret


def _has_some(algorithms: list[str]) -> list[str]:
    if not algorithms:
        raise ValueError("at least one algorithm is needed")
    return algorithms


class JwtOptions(PluginOptions):
    """Where the keys are, and what a token has to say."""

    keys: Annotated[str, Field(min_length=1)]
    """A JSON Web Key Set: a file's path, or an http(s) URL."""
    mechanism: Literal["PLAIN", "OAUTHBEARER"] = "PLAIN"
    """What clients call it: PLAIN with the token as password, or OAUTHBEARER."""
    priority: int = 20
    """Mechanisms with a higher one are announced earlier."""
    needs_tls: bool = True
    """Whether it is only there for clients with TLS: who reads a token on the way can use it."""
    algorithms: Annotated[list[Algorithm], AfterValidator(_has_some)] = ["RS256", "ES256"]
    """What tokens may be signed with. Secret keys are only taken if one of HS256, HS384, HS512 is among them."""
    issuer: str | None = None
    """What the claim iss has to be; null: anything."""
    audience: str | None = None
    """What the claim aud has to be or hold; null: anything."""
    user_claim: Annotated[str, Field(min_length=1)] = "sub"
    """The claim that holds the user."""
    leeway: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 10.0
    """By how many seconds clocks may differ."""
    pass_token: bool = False
    """Whether upstreams get the token as password, for those that check it, too; otherwise they need credentials in
    trabbits' configuration."""
    interval: Annotated[float, Field(ge=0.1, le=86400, allow_inf_nan=False)] = 60.0
    """Every so many seconds the keys are read again."""
    least_interval: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = 5.0
    """For a key that is not there they are read at once, but not more often than every so many seconds."""


@implementer(IAuthMechanism)
class JwtMechanism:
    """Checks tokens with a `KeySet`, which somebody else keeps up to date; `missing` hears of keys that it lacks."""

    def __init__(self, options: JwtOptions, keys: KeySet) -> None:
        self.name: str = options.mechanism
        self.priority: int = options.priority
        self.needs_tls: bool = options.needs_tls
        self.verifies = True
        self.keys = keys
        self.missing: Callable[[], None] = _nobody
        self.pass_token = options.pass_token
        self.rules = Rules(
            algorithms=options.algorithms,
            issuer=options.issuer,
            audience=options.audience,
            leeway=options.leeway,
            user_claim=options.user_claim,
        )

    def begin(self, peer: Peer) -> IAuthExchange:
        return _Plain(self) if self.name == "PLAIN" else _OAuthBearer(self)

    def identity(self, presented: sasl.Presented) -> Identity:
        """Whose token it is. Raises `BadToken`."""
        try:
            user = user_of(presented.token, self.keys, self.rules)
        except UnknownKey:
            self.missing()
            raise
        if presented.user not in ("", user):
            raise BadToken("it is another user's")
        passed = Credentials(username=user, password=presented.token) if self.pass_token else None
        return Identity(user=user, credentials=passed, verified=True)


def _nobody() -> None:
    """Where a configuration is only checked, no keys are fetched."""


def _refusal(error: Exception) -> Refusal:
    return Refusal(403, f"ACCESS_REFUSED - the token is not accepted: {error}")


@implementer(IAuthExchange)
@frozen
class _Plain:
    """One response, one answer."""

    mechanism: JwtMechanism

    def respond(self, response: bytes) -> Identity | Refusal:
        try:
            return self.mechanism.identity(sasl.plain(response))
        except (BadToken, sasl.Malformed) as error:
            return _refusal(error)


@implementer(IAuthExchange)
@define
class _OAuthBearer:
    """A refusal is told in two steps: a challenge that says what is wrong, and the end when the client has heard it."""

    mechanism: JwtMechanism
    _refused: Refusal | None = None

    def respond(self, response: bytes) -> Identity | Challenge | Refusal:
        if self._refused is not None:
            return self._refused
        try:
            return self.mechanism.identity(sasl.oauthbearer(response))
        except sasl.Malformed as error:
            return _refusal(error)
        except BadToken as error:
            self._refused = _refusal(error)
            # RFC 7628 section 3.2.2.
            return Challenge(json.dumps({"status": "invalid_token"}).encode())


def make(options: JwtOptions, context: PluginContext) -> JwtMechanism:
    """Read the keys, and go on doing so if this is meant seriously. Raises ValueError for a file that is wrong.

    Keys behind a URL are fetched when trabbits runs, not while its configuration is read: until then nobody gets in.
    """
    secret = any(algorithm.startswith("HS") for algorithm in options.algorithms)
    keys = KeySet(options.keys, public_only=not secret)
    remote = is_url(options.keys)
    if not remote:
        keys.keys = keys.read()
    mechanism = JwtMechanism(options, keys)
    if context.reactor is not None:
        refresh = Refresh(mechanism, options.interval, options.least_interval, context.reactor)
        mechanism.missing = refresh.soon
        context.reactor.callWhenRunning(lambda: refresh.start(at_once=remote))
    return mechanism


jwt = Plugin("jwt", IAuthMechanism, JwtOptions, make, "clients log in with a JSON Web Token")
