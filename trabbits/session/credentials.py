"""What each upstream is told of a client, and who has to prove that the client is the one it says.

Lives here: `Mapped`, what the configuration gives an upstream for a user, and `plan`.
Must not know: how the client said who it is (``authentication.py``), or whether upstreams accept it.

The rule: a client that only *says* who it is must show a password that is right.  Either an upstream that gets the
client's own password accepts it, or the configuration has what the client must show (`Mapped.client_password`).
Otherwise mapped credentials would let in everybody who knows a user's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hmac import compare_digest

from attrs import field, frozen

from trabbits.interfaces import Credentials, Identity

#: In a mapping, the user name for everybody that has no entry.
ANYBODY = "*"


@frozen
class Mapped:
    """What an upstream gets for a user; `username` None is the client's own name.

    `client_password` is what the client has to show for that, None for nothing.  A client whose mechanism has proof of
    who it is does not need to.
    """

    password: str = field(repr=False)
    username: str | None = None
    client_password: str | None = field(default=None, repr=False)


@frozen
class Plan:
    """What every upstream gets for one client.

    `own` names those that get the client's own words.  Unless it is `proven` who the client is, one of them has to
    accept these.
    """

    by_upstream: Mapping[str, Credentials]
    own: frozenset[str]
    proven: bool


class NotProven(Exception):
    """The client cannot be let in.  The text is for the operator, and for the client only if it is `told`: what the
    client may know without having proved anything.
    """

    def __init__(self, text: str, *, told: bool = False) -> None:
        super().__init__(text)
        self.told = told


def plan(identity: Identity, upstreams: Iterable[tuple[str, Mapping[str, Mapped]]]) -> Plan:
    """What every upstream, given with its mapping, is told.  Raises `NotProven`."""
    found: dict[str, Credentials] = {}
    own: set[str] = set()
    proven = identity.verified
    for name, mapping in upstreams:
        mapped = mapping.get(identity.user) or mapping.get(ANYBODY)
        if mapped is not None:
            if mapped.client_password is not None and not identity.verified:
                if not _shows(identity, mapped.client_password):
                    raise NotProven(f"user '{identity.user}' did not show the client_password for upstream '{name}'")
                proven = True
            username = mapped.username if mapped.username is not None else identity.user
            found[name] = Credentials(username, mapped.password)
        elif name in identity.upstream_credentials:
            found[name] = identity.upstream_credentials[name]
        elif identity.credentials is not None:
            found[name] = identity.credentials
            own.add(name)
        else:
            raise NotProven(f"user '{identity.user}' has no credentials for upstream '{name}'", told=True)
        if found[name].mechanism == "PLAIN" and "\0" in found[name].username + found[name].password:
            # They are what separates the two.
            raise NotProven(f"the credentials of user {identity.user!r} for upstream '{name}' contain NUL")
    if not proven and not own:
        raise NotProven(
            f"nobody can check the password of user '{identity.user}': every upstream has mapped credentials"
        )
    return Plan(found, frozenset(own), proven)


def _shows(identity: Identity, password: str) -> bool:
    shown = identity.credentials.password if identity.credentials is not None else ""
    # surrogatepass: what the client sent need not be text.
    return identity.credentials is not None and compare_digest(
        shown.encode("utf-8", "surrogatepass"), password.encode("utf-8", "surrogatepass")
    )
