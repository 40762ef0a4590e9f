"""The configuration as pydantic models: its keys, types, defaults and bounds.

Lives here: what may be written in a configuration.  Must not know: files and their syntax
(``trabbits.config.loading``), or what is built from it (``trabbits.assembly``).

Every section is strict: an unknown key, or ``"5"`` where 5 is meant, is an error.  `docs/configuration.md`
describes each key for operators; a test compares the two.  The text below each key is what ``trabbits config schema``
tells of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)

from trabbits.config.addresses import Address, AddressField, ListenField, address
from trabbits.config.arguments import FieldTable
from trabbits.config.conflicts import conflicts
from trabbits.config.durations import Duration, Heartbeat, PositiveDuration
from trabbits.config.errors import expected
from trabbits.config.plugin_use import MechanismUse, PolicyUse, RewriterUse, RoutingUse, SelectorUse
from trabbits.config.secret_files import SecretFileField
from trabbits.described import Described


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise expected("printable characters without spaces around them")
    return name


def _short_text(text: str) -> str:
    if len(text.encode()) > 255:
        raise expected("at most 255 octets (AMQP's limit for short texts)")
    return text


def _routing_key_sized(pattern: str) -> str:
    if len(pattern.encode()) > 255:
        raise expected("at most 255 octets (AMQP's limit for routing keys)")
    return pattern


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise expected("text without NUL characters (they separate user and password in AMQP's PLAIN)", hide=True)
    return text


def _path(path: str) -> str:
    if "\0" in path:
        raise expected("the name of a file, which has no NUL characters")
    return path


def _secret_without_nul(secret: SecretStr) -> SecretStr:
    _without_nul(secret.get_secret_value())
    return secret


def _token(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise expected("printable ASCII characters without spaces (it travels in an HTTP header)", hide=True)
    return secret


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
KeyPattern = Annotated[str, AfterValidator(_routing_key_sized)]
UserName = Annotated[str, Field(min_length=1), AfterValidator(_without_nul), AfterValidator(_short_text)]
Password = Annotated[SecretStr, Field(min_length=1), AfterValidator(_secret_without_nul)]
Token = Annotated[SecretStr, Field(min_length=1, max_length=4096), AfterValidator(_token)]
FileName = Annotated[str, Field(min_length=1), AfterValidator(_path)]
VirtualHost = Annotated[str, Field(min_length=1), AfterValidator(_short_text)]


class Section(Described):
    """What all parts of the configuration have in common."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True)


class RoutingConfig(Section):
    """Which published messages an upstream gets."""

    key_patterns: list[KeyPattern] = []
    """A message whose routing key matches one of them goes to this upstream: * is one word, # zero or more words,
    % zero or more characters inside a word."""


class QueueAttributesConfig(Section):
    """What an upstream is asked for in place of what the client declared; an absent or null key changes nothing."""

    durable: bool | None = None
    """Whether queues survive a restart of the broker; null: as the client says."""
    auto_delete: bool | None = None
    """Whether queues go when their last consumer leaves; null: as the client says."""
    exclusive: bool | None = None
    """Whether queues belong to one connection; null: as the client says."""
    arguments: FieldTable = {}
    """Laid over the client's arguments: a value replaces the client's or is added, null removes the client's."""


class QueueOptionsConfig(Section):
    """How queues are declared at an upstream."""

    try_passive: bool = False
    """Use a queue that exists as it is, whatever its attributes; only a missing one is declared."""
    emulate_auto_delete: bool = False
    """Delete a queue that the client declared auto-delete and `queue_attributes` did not, when the connection that
    declared it ends."""


class HealthCheckConfig(Section):
    """How the nodes of an upstream are watched in the background: each is logged in to now and then."""

    enabled: bool = True
    """Whether there are checks at all; they need `username` and `password`."""
    interval: PositiveDuration = 30.0
    """From one check of a node to the next."""
    timeout: PositiveDuration = 5.0
    """How long one check may take as a whole."""
    unhealthy_threshold: Annotated[int, Field(ge=1, le=1000)] = 3
    """This many failures in a row isolate a node: it is tried only when no healthy one is left."""
    recovery_interval: PositiveDuration = 60.0
    """From one check of an isolated node to the next; also how long a node that failed a client comes last."""
    username: UserName | None = None
    """The user that checks log in as; it needs access to `virtual_host`, and no permissions there."""
    password: Password | None = None
    """That user's password; it is masked in every output."""
    virtual_host: VirtualHost = "/"
    """The virtual host that checks open."""


class NodeConfig(Section):
    """One node of a cluster; an address alone may stand for it."""

    address: AddressField
    """Where it listens."""
    labels: dict[str, str] = {}
    """What selectors know it by, such as its datacenter."""


def _node(value: Any) -> Any:
    """An address is checked here, so that an error has its path and not that of a key that nobody wrote."""
    if isinstance(value, str | Address):
        return {"address": address(value)}
    if isinstance(value, dict | NodeConfig):
        return value
    raise expected('"host:port", such as "localhost:5672", or an object with "address" and "labels"')


def _shortest(node: NodeConfig) -> Any:
    return {"address": str(node.address), "labels": node.labels} if node.labels else str(node.address)


NodeField = Annotated[NodeConfig, BeforeValidator(_node), PlainSerializer(_shortest)]


class ClusterConfig(Section):
    """The nodes of one RabbitMQ cluster."""

    nodes: Annotated[list[NodeField], Field(min_length=1)]
    """Where they listen; each connection goes to one of them: healthy ones first, of these the least used one."""


class MappedCredentialsConfig(Section):
    """What an upstream gets for a user: `password` or `password_file`, one of the two."""

    username: UserName | None = None
    """The user that it is told; null: the client's own name."""
    password: Password | None = None
    """That user's password; it is masked in every output."""
    password_file: SecretFileField | None = None
    """A file that holds the password, on one line; read when the configuration is."""
    client_password: Password | None = None
    """What the client has to show for it; null: what another upstream accepts. It is masked in every output."""
    client_password_file: SecretFileField | None = None
    """A file that holds it, in place of `client_password`."""


class UpstreamConfig(Section):
    """One target: a broker (`address`) or a cluster of several nodes (`cluster`), one of the two."""

    name: Name
    """What it is called in log lines and errors; no two upstreams have the same name."""
    address: AddressField | None = None
    """Where the broker listens; a broker of one node needs no `cluster`."""
    cluster: ClusterConfig | None = None
    """The nodes, in place of `address`, of a cluster."""
    required: bool = True
    """Whether clients are refused while this upstream is down; otherwise they connect without it."""
    timeout: PositiveDuration = 5.0
    """How long one attempt to log in at a node may take, and again how long opening the virtual host may."""
    health_check: HealthCheckConfig | None = None
    """How its nodes are watched; null: only through the clients' connections."""
    routing: RoutingConfig = RoutingConfig()
    """Which published messages it gets."""
    queue_attributes: QueueAttributesConfig | None = None
    """What it is asked for when a client declares a queue; null: what the client says."""
    rewriters: list[RewriterUse] = []
    """What else changes how queues, exchanges and bindings are declared, in this order, each behind the one before and
    behind `queue_attributes`."""
    queue_options: QueueOptionsConfig = QueueOptionsConfig()
    """How queues are declared there."""
    credentials: dict[UserName, MappedCredentialsConfig] = {}
    """What it gets for users by the name that clients log in with, "*" for all others; who is not here goes by the own
    credentials."""
    selector: SelectorUse = Field(default_factory=lambda: SelectorUse(plugin="least_connections"))
    """Which node of a cluster a connection goes to."""

    @property
    def nodes(self) -> tuple[Address, ...]:
        """Where it listens; never empty."""
        if self.cluster is not None:
            return tuple(node.address for node in self.cluster.nodes)
        assert self.address is not None
        return (self.address,)

    @property
    def labels(self) -> dict[Address, dict[str, str]]:
        """What is known of its nodes by address."""
        return {node.address: node.labels for node in self.cluster.nodes} if self.cluster is not None else {}


class GracefulShutdownConfig(Section):
    """How clients are asked to leave when the process stops, or when their configuration is outdated.

    `burst_size` sessions are closed at once, then `rate_limit` per second; what is left after the timeout is closed
    at once (reload) or dropped (shutdown).
    """

    shutdown_timeout: Duration = 10.0
    """How long clients have to leave when the process stops."""
    reload_timeout: Duration = 30.0
    """How long clients have to leave after their configuration was replaced."""
    rate_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """How many clients are asked to leave per second, so that they do not all come back at once."""
    burst_size: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """How many clients are asked at once in the beginning."""


class TransactionsConfig(Section):
    """What happens to AMQP transactions that several upstreams took part in."""

    best_effort: bool = False
    """Commit them on every upstream, though an error on one leaves the others committed; false: refuse them."""


class AuthenticationConfig(Section):
    """How it is found out who a client is."""

    mechanisms: Annotated[list[MechanismUse], Field(min_length=1)] = Field(
        default_factory=lambda: [MechanismUse(plugin="PLAIN"), MechanismUse(plugin="AMQPLAIN")]
    )
    """What clients may log in by; announced by priority, equals in this order."""


class CertificateConfig(Section):
    """What a port proves itself with."""

    certificate: FileName
    """A file with the certificate in PEM form, and the ones between it and its authority."""
    key: FileName
    """A file with the certificate's private key in PEM form, without a passphrase."""


class TlsConfig(CertificateConfig):
    """A port for clients that speak TLS, beside the one that is given on the command line."""

    listen: ListenField
    """Where it listens. Port 0 is any free one."""
    client_ca: FileName | None = None
    """A file with the certificates, in PEM form, of authorities that clients' certificates may come from; null: clients
    are not asked for certificates."""
    client_certificate: Literal["required", "optional"] | None = None
    """Whether a client needs a certificate to connect; null: where there is a `client_ca`, it does."""


class AdminConfig(Section):
    """The admin API over TCP.  Its UNIX socket is not configured here (`--api-socket`)."""

    listen: ListenField | None = None
    """Where it listens in addition to its UNIX socket; null: nowhere. Port 0 is any free one."""
    token: Token | None = None
    """What every request over TCP has to bring (Authorization: Bearer ...); it is masked in every output."""
    tls: CertificateConfig | None = None
    """TLS for that port; null: none, which only suits a network that nobody else listens to."""


class Config(Section):
    """The whole configuration."""

    upstreams: Annotated[list[UpstreamConfig], Field(min_length=1)]
    """Where clients' connections go; patterns are tried in this order, and the first one gets what none matches."""
    handshake_timeout: Annotated[
        PositiveDuration, Field(validation_alias=AliasChoices("handshake_timeout", "read_timeout"))
    ] = 5.0
    """How long a client may take for each of its turns while it connects."""
    connection_close_timeout: PositiveDuration = 1.0
    """How long to wait for the answer to connection.close before the socket is closed without it."""
    graceful_shutdown: GracefulShutdownConfig = GracefulShutdownConfig()
    """How clients are asked to leave."""
    frame_max: Annotated[int, Field(ge=4096, le=16 * 1024 * 1024)] = 131072
    """The largest frame, in octets, that clients are offered."""
    channel_max: Annotated[int, Field(ge=2, le=65535)] = 2047
    """How many channels a connection to an upstream may have; clients are offered one less, or two where messages are
    copied."""
    heartbeat: Heartbeat = 60
    """The interval, in whole seconds, that clients are offered and upstreams asked for; 0: none."""
    routing: RoutingUse = Field(default_factory=lambda: RoutingUse(plugin="key_patterns"))
    """What decides which upstream gets a published message."""
    authentication: AuthenticationConfig = Field(default_factory=AuthenticationConfig)
    """How clients log in."""
    tls: TlsConfig | None = None
    """A port for clients that speak TLS; null: none."""
    policies: list[PolicyUse] = []
    """What decides whether a client may connect; each is asked when those before it said yes."""
    policy_timeout: PositiveDuration = 5.0
    """How long one policy may take for its answer."""
    transactions: TransactionsConfig = TransactionsConfig()
    """What happens to AMQP transactions when there are several upstreams."""
    admin: AdminConfig = AdminConfig()
    """The admin API over TCP."""

    @model_validator(mode="after")
    def _without_conflicts(self) -> Config:
        found = list(conflicts(self.model_dump()))
        if found:
            raise ValidationError.from_exception_data(
                "Config",
                [
                    {"type": expected(each.what, hide=each.value is None), "loc": each.location, "input": each.value}
                    for each in found
                ],
            )
        return self


def masked(config: BaseModel) -> dict[str, Any]:
    """The configuration as plain JSON values with every secret (`pydantic.SecretStr`) replaced by asterisks.

    The only way for a configuration to leave the process.
    """
    return config.model_dump(mode="json")


def default_config() -> Config:
    """What runs without a configuration file: one upstream, RabbitMQ on this machine."""
    return Config(upstreams=[UpstreamConfig(name="default", address=Address("localhost", 5672))])
