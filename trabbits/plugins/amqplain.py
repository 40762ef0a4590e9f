"""AMQPLAIN: user name and password in a field table, as AMQP had it before PLAIN; some clients prefer it still.

Lives here: `AmqPlain`, the mechanism.  Must not know: connection.start-ok around the response.
Source: RabbitMQ's rabbit_auth_mechanism_amqplain (a table without its length prefix).
"""

from __future__ import annotations

from zope.interface import implementer

from trabbits.interfaces import Credentials, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.plugins.declaring import Plugin
from trabbits.plugins.field_tables import decoded
from trabbits.plugins.plain import PlainOptions


@implementer(IAuthMechanism, IAuthExchange)
class AmqPlain:
    """Takes the response apart.  One response is all there is, so the mechanism is its own exchange."""

    name = "AMQPLAIN"
    priority = 0
    verifies = False

    def __init__(self, *, needs_tls: bool = False) -> None:
        self.needs_tls = needs_tls

    def begin(self, peer: Peer) -> AmqPlain:
        return self

    def respond(self, response: bytes) -> Identity | Refusal:
        try:
            table = decoded(response)
        except ValueError:
            return Refusal(502, "SYNTAX_ERROR - AMQPLAIN login refused: the response is not a field table")
        user, password = table.get("LOGIN"), table.get("PASSWORD")
        if not isinstance(user, str) or not isinstance(password, str):
            return Refusal(403, "ACCESS_REFUSED - AMQPLAIN login refused: user or password missing")
        return Identity(user, Credentials(user, password, "AMQPLAIN"))


amqplain = Plugin(
    "AMQPLAIN",
    IAuthMechanism,
    PlainOptions,
    lambda options, context: AmqPlain(needs_tls=options.needs_tls),
    "the same in a table, as older clients have it",
)
