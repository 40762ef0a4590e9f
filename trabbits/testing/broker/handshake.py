"""From the protocol header to connection.open-ok.

Lives here: `Handshake`, the methods of channel 0 before the connection is open, and who is let in.
Must not know: channels, sockets.

Source: AMQP 0-9-1 sections 1.4.2 (connection methods) and 4.2.2 (protocol header);
https://www.rabbitmq.com/docs/access-control (PLAIN and AMQPLAIN).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pamqp import commands

from trabbits.testing.broker.errors import Refused
from trabbits.testing.broker.fields import Fields
from trabbits.testing.broker.tables import Table, read_table
from trabbits.wire import constants as c
from trabbits.wire.encode import method_frame
from trabbits.wire.errors import Violation

if TYPE_CHECKING:
    from trabbits.testing.broker.connection import BrokerConnection

MECHANISMS: Final = "PLAIN AMQPLAIN"


class LoginRefused(Exception):
    """Wrong credentials; `mechanism` is how they were given."""

    def __init__(self, mechanism: str) -> None:
        super().__init__(mechanism)
        self.mechanism = mechanism

    @property
    def text(self) -> str:
        return f"Login was refused using authentication mechanism {self.mechanism}. For details see the broker logfile."


class HungUp(Exception):
    """What RabbitMQ says nothing about: it closes the socket."""


class Handshake:
    """The handshake of one connection, step by step."""

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection
        self._step = c.CONNECTION_START_OK

    def begin(self) -> None:
        """The protocol header was right."""
        connection = self._connection
        start = commands.Connection.Start(0, 9, dict(connection.broker.properties), MECHANISMS, "en_US")
        connection.send(method_frame(0, start))

    def method(self, frame: bytes) -> None:
        """A method on channel 0.  Raises `Refused`, `LoginRefused` or `HungUp`."""
        fields = Fields(frame)
        if fields.index != self._step:
            text = f"unexpected method in connection state {_STATES[self._step]}"
            raise Refused(c.CHANNEL_ERROR, text, fields.index >> 16, fields.index & 0xFFFF)
        if fields.index == c.CONNECTION_START_OK:
            self._log_in(fields)
            self._step = c.CONNECTION_TUNE_OK
        elif fields.index == c.CONNECTION_TUNE_OK:
            self._agree(fields)
            self._step = c.CONNECTION_OPEN
        else:
            self._open(fields)

    def _log_in(self, fields: Fields) -> None:
        connection = self._connection
        properties = fields.table("client_properties")
        connection.client_properties = properties
        capabilities = properties.get("capabilities")
        if capabilities is not None and capabilities.kind == "table":
            connection.capabilities = read_table(capabilities.value)
        mechanism = fields.text("mechanism")
        if mechanism not in MECHANISMS.split():
            raise Refused(c.COMMAND_INVALID, f"unknown authentication mechanism '{mechanism}'")
        response = fields.octets("response")
        name, password = _plain(response) if mechanism == "PLAIN" else _amqplain(response)
        user = connection.broker.users.get(name)
        if user is None or user.password != password:
            raise LoginRefused(mechanism)
        connection.user_name, connection.user = name, user
        limits = connection.limits
        tune = commands.Connection.Tune(limits.channel_max, limits.frame_max, limits.heartbeat)
        connection.send(method_frame(0, tune))

    def _agree(self, fields: Fields) -> None:
        limits = self._connection.limits
        frame_max, channel_max = fields.number("frame_max"), fields.number("channel_max")
        for received, offered, least in (
            (frame_max, limits.frame_max, limits.frame_min),
            (channel_max, limits.channel_max, 1),
        ):
            if (received and received < least) or (offered and not 0 < received <= offered):
                raise HungUp
        self._connection.agree(frame_max, channel_max, fields.number("heartbeat"))

    def _open(self, fields: Fields) -> None:
        connection = self._connection
        name = fields.text("virtual_host")
        vhost = connection.broker.vhosts.get(name)
        ids = fields.index >> 16, fields.index & 0xFFFF
        if vhost is None:
            raise Refused(c.NOT_ALLOWED, f"vhost {name} not found", *ids)
        if not connection.user.may_enter(name):
            text = f"access to vhost '{name}' refused for user '{connection.user_name}'"
            raise Refused(c.NOT_ALLOWED, text, *ids)
        connection.enter(vhost)
        connection.send(method_frame(0, commands.Connection.OpenOk()))


_STATES: Final = {
    c.CONNECTION_START_OK: "starting",
    c.CONNECTION_TUNE_OK: "tuning",
    c.CONNECTION_OPEN: "opening",
}


def _plain(response: bytes) -> tuple[str, str]:
    """User and password of RFC 4616: an identity that is not looked at, NUL, user, NUL, password."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise Refused(c.SYNTAX_ERROR, "response is not a valid PLAIN response")
    return parts[1].decode("utf-8", "surrogateescape"), parts[2].decode("utf-8", "surrogateescape")


def _amqplain(response: bytes) -> tuple[str, str]:
    """User and password in a field table without its length."""
    table: Table = {}
    try:
        table = read_table(response)
    except Violation:
        pass
    login, password = table.get("LOGIN"), table.get("PASSWORD")
    if login is None or password is None or {login.kind, password.kind} != {"longstr"}:
        raise Refused(c.SYNTAX_ERROR, "AMQPLAIN auth info is missing LOGIN or PASSWORD field")
    return login.value, password.value
