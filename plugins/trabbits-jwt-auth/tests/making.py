"""Keys and tokens for the tests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

EXPIRY = 3600


class Signer:
    """An issuer with one EC key."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self._private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> dict[str, Any]:
        """The key as it stands in a key set."""
        return {**ECAlgorithm.to_jwk(self._private.public_key(), as_dict=True), "kid": self.key_id, "use": "sig"}

    def token(self, user: str | None = "app", *, kid: str | None = None, **claims: Any) -> str:
        """A token that is good for an hour, unless `claims` say something else (None leaves one out)."""
        all_claims = {"sub": user, "exp": int(time.time()) + EXPIRY, **claims}
        given = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(given, self._private, algorithm="ES256", headers={"kid": self.key_id if kid is None else kid})


def write_keys(path: Path, *signers: Signer) -> Path:
    """Put a key set in place, as somebody would who changes keys while trabbits runs."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"keys": [signer.public for signer in signers]}))
    new.rename(path)
    return path
