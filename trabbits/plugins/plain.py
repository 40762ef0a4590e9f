"""PLAIN: user name and password in one response; whether they are right only an upstream knows.

Lives here: `Plain`, the mechanism.  Must not know: connection.start-ok around the response.
Source: RFC 4616.
"""

from __future__ import annotations

from zope.interface import implementer

from trabbits.interfaces import Credentials, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.plugins.declaring import Plugin, PluginOptions


class PlainOptions(PluginOptions):
    """When the password may travel."""

    needs_tls: bool = False
    """Whether the mechanism is there for encrypted connections only."""


@implementer(IAuthMechanism, IAuthExchange)
class Plain:
    """Takes the response apart.  One response is all there is, so the mechanism is its own exchange."""

    name = "PLAIN"
    priority = 0
    verifies = False

    def __init__(self, *, needs_tls: bool = False) -> None:
        self.needs_tls = needs_tls

    def begin(self, peer: Peer) -> Plain:
        return self

    def respond(self, response: bytes) -> Identity | Refusal:
        # authzid NUL authcid NUL passwd; like RabbitMQ an authzid is not taken.
        parts = response.split(b"\x00")
        if len(parts) != 3 or parts[0]:
            text = "PLAIN login refused: the response is not NUL user NUL password"
            return Refusal(403, f"ACCESS_REFUSED - {text}")
        try:
            user, password = parts[1].decode(), parts[2].decode()
        except UnicodeDecodeError:
            return Refusal(502, "SYNTAX_ERROR - PLAIN login refused: user or password is not UTF-8")
        return Identity(user, Credentials(user, password))


plain = Plugin(
    "PLAIN",
    IAuthMechanism,
    PlainOptions,
    lambda options, context: Plain(needs_tls=options.needs_tls),
    "user name and password, for the upstreams to check",
)
