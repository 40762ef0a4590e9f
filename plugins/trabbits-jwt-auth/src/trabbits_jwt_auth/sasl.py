"""What clients say in a SASL response: the token, and the user that they claim to be.

Sources: RFC 4616 (PLAIN), RFC 7628 sections 3.1 and 3.2.3 (OAUTHBEARER).
"""

from __future__ import annotations

from attrs import field, frozen

#: Octets; a longer response is no token of anybody's.
RESPONSE_MAX = 16 * 1024
#: Separates the parts of an OAUTHBEARER message, and is all that a client says to a challenge about a failure.
KVSEP = b"\x01"


@frozen
class Presented:
    """A token that nobody has checked yet.  `user` is empty where the client claims to be nobody in particular."""

    token: str = field(repr=False)
    user: str = ""


class Malformed(ValueError):
    """A response that is none; the text is for people and has nothing of the response in it."""


def plain(response: bytes) -> Presented:
    """The token is the password, as RabbitMQ's OAuth 2 backend has it; the user may be left empty."""
    parts = _checked(response).split(b"\x00")
    if len(parts) != 3 or parts[0]:
        raise Malformed("the response is not NUL user NUL token")
    return Presented(_text(parts[2]), _text(parts[1]))


def oauthbearer(response: bytes) -> Presented:
    """``n,a=user,`` and then key=value pairs, of which ``auth`` has the token."""
    head, *pairs = _checked(response).split(KVSEP)
    if len(pairs) < 2 or pairs[-2:] != [b"", b""]:
        raise Malformed("the response does not end as RFC 7628 has it")
    parts = head.split(b",")
    if len(parts) != 3 or parts[0] not in (b"n", b"y") or parts[2] or (parts[1] and not parts[1].startswith(b"a=")):
        raise Malformed("the response does not begin as RFC 7628 has it")
    authorizations = [pair.partition(b"=")[2] for pair in pairs if pair.startswith(b"auth=")]
    if len(authorizations) != 1:
        raise Malformed("the response has no authorization, or several")
    scheme, _, token = authorizations[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise Malformed("the authorization is not of the kind Bearer")
    return Presented(_text(token.strip()), _saslname(_text(parts[1][2:])))


def _saslname(text: str) -> str:
    # RFC 5801 section 4: what separates parts is written otherwise inside them.
    return text.replace("=2C", ",").replace("=3D", "=")


def _checked(response: bytes) -> bytes:
    if len(response) > RESPONSE_MAX:
        raise Malformed(f"the response is longer than {RESPONSE_MAX} octets")
    return response


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Malformed("the response is not UTF-8") from None
