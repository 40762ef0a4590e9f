"""The keys that tokens are checked with: a JSON Web Key Set (RFC 7517), from a file or over HTTP."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from jwt import PyJWK
from jwt.exceptions import PyJWTError

#: Octets; a key set that is larger is a mistake.
SIZE_LIMIT = 1024 * 1024
#: Seconds for one answer of an HTTP server.
HTTP_TIMEOUT = 10.0


@define
class KeySet:
    """The newest good reading of `source`, a file's path or an http(s) URL: key id -> key.

    `public_only` refuses secret keys (``kty`` "oct"): they only have a place where tokens are signed with one.
    """

    source: str
    public_only: bool = True
    keys: Mapping[str, PyJWK] = field(factory=dict, repr=False)
    #: What was wrong with it the last time; empty if nothing was.
    problem: str = field(default="", init=False)

    def read(self) -> dict[str, PyJWK]:
        """Read the source again.  May block, so it is for a thread.  Raises ValueError, with a text for people."""
        return parse(_octets(self.source), self.source, public_only=self.public_only)


def parse(octets: bytes, source: str, *, public_only: bool = True) -> dict[str, PyJWK]:
    """The keys of a set by their ids.  Raises ValueError.

    Keys that are not for signatures, and those of kinds that the library does not know, are passed over (RFC 7517
    section 5); one without an id has the empty one.
    """
    try:
        value = json.loads(octets)
    except (ValueError, RecursionError):
        raise ValueError(f"{source} is no JSON") from None
    entries = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f'{source} is no key set: an object with a list "keys" is expected')
    keys: dict[str, PyJWK] = {}
    for entry in entries:
        if entry.get("use", "sig") != "sig" or (public_only and entry.get("kty") == "oct"):
            continue
        key = _key(entry)
        if key is None:
            continue
        name = key.key_id or ""
        if name in keys:
            raise ValueError(f"{source} has two keys with the id {name!r}")
        keys[name] = key
    if not keys:
        raise ValueError(f"{source} has no key that signatures can be checked with")
    return keys


def _key(entry: dict[str, Any]) -> PyJWK | None:
    try:
        return PyJWK(entry)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None


def is_url(source: str) -> bool:
    """Whether a source is an address rather than a file."""
    return source.startswith(("https://", "http://"))


def _octets(source: str) -> bytes:
    try:
        if is_url(source):
            with urllib.request.urlopen(source, timeout=HTTP_TIMEOUT) as answer:
                octets: bytes = answer.read(SIZE_LIMIT + 1)
        else:
            with Path(source).open("rb") as file:
                octets = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(octets) > SIZE_LIMIT:
        raise ValueError(f"{source} is larger than {SIZE_LIMIT} octets")
    return octets
