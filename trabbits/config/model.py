"""The configuration as pydantic models: its keys, types, defaults and bounds.

Lives here: what may be written in a configuration.  Must not know: files and their syntax
(``trabbits.config.loading``), or what is built from it (``trabbits.assembly``).

Every section is strict: an unknown key, or ``"5"`` where 5 is meant, is an error.  `docs/configuration.md`
describes each key for operators; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from trabbits.config.addresses import Address, AddressField
from trabbits.config.arguments import FieldTable
from trabbits.config.durations import Duration, Heartbeat, PositiveDuration
from trabbits.config.errors import expected


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise expected("printable characters without spaces around them")
    return name


def _routing_key_sized(pattern: str) -> str:
    if len(pattern.encode()) > 255:
        raise expected("at most 255 octets (AMQP's limit for routing keys)")
    return pattern


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
KeyPattern = Annotated[str, AfterValidator(_routing_key_sized)]


class Section(BaseModel):
    """What all parts of the configuration have in common."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True)


class RoutingConfig(Section):
    """Which publishes an upstream gets."""

    key_patterns: list[KeyPattern] = []


class QueueAttributesConfig(Section):
    """What an upstream is asked for in place of what the client declared; an absent or null key changes nothing."""

    durable: bool | None = None
    auto_delete: bool | None = None
    exclusive: bool | None = None
    arguments: FieldTable = {}


class QueueOptionsConfig(Section):
    """How queues are declared at an upstream."""

    try_passive: bool = False
    emulate_auto_delete: bool = False


class HealthCheckConfig(Section):
    """How the nodes of an upstream are watched in the background."""

    enabled: bool = True
    interval: PositiveDuration = 30.0
    timeout: PositiveDuration = 5.0
    unhealthy_threshold: Annotated[int, Field(ge=1, le=1000)] = 3
    recovery_interval: PositiveDuration = 60.0
    username: str | None = None
    password: SecretStr | None = None
    virtual_host: str = "/"


class ClusterConfig(Section):
    """The nodes of one RabbitMQ cluster."""

    nodes: Annotated[list[AddressField], Field(min_length=1)]


class UpstreamConfig(Section):
    """One target: a broker (`address`) or a cluster of several (`cluster`), one of the two."""

    name: Name
    address: AddressField | None = None
    cluster: ClusterConfig | None = None
    required: bool = True
    timeout: PositiveDuration = 5.0
    health_check: HealthCheckConfig | None = None
    routing: RoutingConfig = RoutingConfig()
    queue_attributes: QueueAttributesConfig | None = None
    queue_options: QueueOptionsConfig = QueueOptionsConfig()

    @property
    def nodes(self) -> tuple[Address, ...]:
        """Where it listens; never empty."""
        if self.cluster is not None:
            return tuple(self.cluster.nodes)
        assert self.address is not None
        return (self.address,)


class GracefulShutdownConfig(Section):
    """How clients are asked to leave when the process stops, or when their configuration is outdated.

    `burst_size` sessions are closed at once, then `rate_limit` per second; what is left after the timeout is closed
    at once (reload) or dropped (shutdown).
    """

    shutdown_timeout: Duration = 10.0
    reload_timeout: Duration = 30.0
    rate_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    burst_size: Annotated[int, Field(ge=1, le=1_000_000)] = 10


class TransactionsConfig(Section):
    """What happens to AMQP transactions that several upstreams took part in."""

    best_effort: bool = False


class Config(Section):
    """The whole configuration."""

    upstreams: Annotated[list[UpstreamConfig], Field(min_length=1)]
    handshake_timeout: PositiveDuration = 5.0
    connection_close_timeout: PositiveDuration = 1.0
    graceful_shutdown: GracefulShutdownConfig = GracefulShutdownConfig()
    frame_max: Annotated[int, Field(ge=4096, le=16 * 1024 * 1024)] = 131072
    channel_max: Annotated[int, Field(ge=2, le=65535)] = 2047
    heartbeat: Heartbeat = 60
    transactions: TransactionsConfig = TransactionsConfig()

    @field_validator("upstreams")
    @classmethod
    def _unique_names(cls, upstreams: list[UpstreamConfig]) -> list[UpstreamConfig]:
        repeated = repeated_names([upstream.name for upstream in upstreams])
        if repeated:
            raise ValidationError.from_exception_data(
                "upstreams",
                [
                    {"type": expected(UNIQUE_NAME), "loc": (index, "name"), "input": upstreams[index].name}
                    for index in repeated
                ],
            )
        return upstreams


UNIQUE_NAME = "a name that no other upstream has"


def repeated_names(names: Sequence[Any]) -> list[int]:
    """Where in `names` a name stands that was there before; what is no string is passed over."""
    seen: set[str] = set()
    repeated = []
    for index, name in enumerate(names):
        if not isinstance(name, str):
            continue
        if name in seen:
            repeated.append(index)
        seen.add(name)
    return repeated


def masked(config: BaseModel) -> dict[str, Any]:
    """The configuration as plain JSON values with every secret (`pydantic.SecretStr`) replaced by asterisks.

    The only way for a configuration to leave the process.
    """
    return config.model_dump(mode="json")


def default_config() -> Config:
    """What runs without a configuration file: one upstream, RabbitMQ on this machine."""
    return Config(upstreams=[UpstreamConfig(name="default", address=Address("localhost", 5672))])
