"""What a client says about itself in connection.start-ok: user name and password of PLAIN and AMQPLAIN.

Must not know: whether they are right; only an upstream does.
Source: RFC 4616 (PLAIN); RabbitMQ's rabbit_auth_mechanism_amqplain (a table without its length prefix).
"""

from __future__ import annotations

from struct import pack

from attrs import field, frozen
from pamqp import decode

from trabbits.wire.constants import ACCESS_REFUSED, COMMAND_INVALID, SYNTAX_ERROR
from trabbits.wire.errors import Violation
from trabbits.wire.table import check_table

#: As announced in connection.start, most wanted first (RabbitMQ's own order).
MECHANISMS = ("PLAIN", "AMQPLAIN")


@frozen
class Credentials:
    """Who the client says it is."""

    mechanism: str
    username: str
    password: str = field(repr=False)


def credentials_of(mechanism: str, response: bytes) -> Credentials:
    """Read the SASL response; raises `Violation` 403, 502 or (the mechanism) 503 for one that makes no sense."""
    if mechanism == "PLAIN":
        username, password = _plain(response)
    elif mechanism == "AMQPLAIN":
        username, password = _amqplain(response)
    else:
        raise Violation(
            COMMAND_INVALID,
            f"unsupported authentication mechanism {mechanism!r}; supported are {', '.join(MECHANISMS)}",
        )
    return Credentials(mechanism, username, password)


def _plain(response: bytes) -> tuple[str, str]:
    # authzid NUL authcid NUL passwd; like RabbitMQ an authzid is not taken.
    parts = response.split(b"\x00")
    if len(parts) != 3 or parts[0]:
        raise Violation(ACCESS_REFUSED, "PLAIN login refused: the response is not NUL user NUL password")
    try:
        return parts[1].decode(), parts[2].decode()
    except UnicodeDecodeError:
        raise Violation(SYNTAX_ERROR, "PLAIN login refused: user or password is not UTF-8") from None


def _amqplain(response: bytes) -> tuple[str, str]:
    try:
        check_table(response)
        _, table = decode.field_table(pack(">I", len(response)) + response)
    except (Violation, ValueError, ArithmeticError, OSError):
        raise Violation(SYNTAX_ERROR, "AMQPLAIN login refused: the response is not a field table") from None
    username, password = table.get("LOGIN"), table.get("PASSWORD")
    if not isinstance(username, str) or not isinstance(password, str):
        raise Violation(ACCESS_REFUSED, "AMQPLAIN login refused: user or password missing")
    return username, password
