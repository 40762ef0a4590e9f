"""From a validated configuration to the things that run: settings for sessions, and upstreams.

Lives here: the one place that knows both the configuration's keys and the core's constructors.
Must not know: when and how often this happens (``trabbits.service`` decides).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trabbits.config import Config, config_hash
from trabbits.config.model import UpstreamConfig
from trabbits.interfaces import IQueueAttributeRewriter, IRoutingStrategy
from trabbits.plugins.key_patterns import KeyPatterns
from trabbits.plugins.queue_attributes import FixedQueueAttributes
from trabbits.session.settings import SessionSettings, UpstreamSettings

if TYPE_CHECKING:
    from trabbits.upstream.health import HealthPolicy
    from trabbits.upstream.status import NodeTable
    from trabbits.upstream.upstream import Upstream


def session_settings(config: Config) -> SessionSettings:
    """What sessions that begin under `config` need to know of it."""
    return SessionSettings(
        upstreams=tuple(
            UpstreamSettings(
                upstream.name,
                _rewriter(upstream),
                required=upstream.required,
                try_passive=upstream.queue_options.try_passive,
                emulate_auto_delete=upstream.queue_options.emulate_auto_delete,
            )
            for upstream in config.upstreams
        ),
        routing=_routing(config),
        frame_max=config.frame_max,
        channel_max=config.channel_max,
        heartbeat=config.heartbeat,
        handshake_timeout=config.handshake_timeout,
        connection_close_timeout=config.connection_close_timeout,
        tx_best_effort=config.transactions.best_effort,
        config_hash=config_hash(config),
    )


def build_upstreams(config: Config, table: NodeTable, reactor: Any) -> dict[str, Upstream]:
    """The upstreams of `config` by name, in its order.  Connects nowhere yet.

    From now on `table` holds the nodes of `config`; what it knew of those that stay is kept.
    """
    # Imported late: reading a configuration needs neither Twisted nor txamqp.
    from trabbits.upstream.node import Node
    from trabbits.upstream.upstream import SUSPICION, Upstream

    table.keep(
        (upstream.name, Node(address.host, address.port)) for upstream in config.upstreams for address in upstream.nodes
    )
    return {
        upstream.name: Upstream(
            upstream.name,
            table.of(upstream.name),
            upstream.timeout,
            reactor,
            required=upstream.required,
            suspicion=upstream.health_check.recovery_interval if upstream.health_check else SUSPICION,
        )
        for upstream in config.upstreams
    }


def health_policies(config: Config) -> dict[str, HealthPolicy]:
    """How the nodes of each upstream are checked that has its health check enabled; for `HealthWatch.apply`."""
    from trabbits.upstream.health import HealthPolicy

    policies = {}
    for upstream in config.upstreams:
        check = upstream.health_check
        if check is not None and check.enabled:
            assert check.username is not None  # the model sees to that
            assert check.password is not None
            policies[upstream.name] = HealthPolicy(
                username=check.username,
                password=check.password.get_secret_value(),
                virtual_host=check.virtual_host,
                interval=check.interval,
                timeout=check.timeout,
                unhealthy_threshold=check.unhealthy_threshold,
                recovery_interval=check.recovery_interval,
            )
    return policies


def _routing(config: Config) -> IRoutingStrategy:
    return KeyPatterns((upstream.name, upstream.routing.key_patterns) for upstream in config.upstreams)


def _rewriter(upstream: UpstreamConfig) -> IQueueAttributeRewriter | None:
    attributes = upstream.queue_attributes
    if attributes is None:
        return None
    return FixedQueueAttributes(
        durable=attributes.durable,
        auto_delete=attributes.auto_delete,
        exclusive=attributes.exclusive,
        arguments=attributes.arguments,
    )
