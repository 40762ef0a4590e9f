"""From a validated configuration to the things that run: settings for sessions, and upstreams.

Lives here: the one place that knows both the configuration's keys and the core's constructors.
Must not know: when and how often this happens (``trabbits.service`` decides).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from trabbits.config import Config, config_hash
from trabbits.config.errors import Location
from trabbits.config.making import made, mechanisms, plugin_context, rewriter_uses
from trabbits.config.model import MappedCredentialsConfig, UpstreamConfig
from trabbits.config.secret_files import SecretFile
from trabbits.interfaces import IConnectionPolicy
from trabbits.plugins.declaring import PluginContext
from trabbits.session.credentials import Mapped
from trabbits.session.rewriting import RewriterChain, chained
from trabbits.session.settings import SessionSettings, UpstreamSettings

if TYPE_CHECKING:
    from trabbits.upstream.health import HealthPolicy
    from trabbits.upstream.status import NodeTable
    from trabbits.upstream.upstream import Upstream


def session_settings(config: Config, reactor: Any = None) -> SessionSettings:
    """What sessions that begin under `config` need to know of it.  Without a reactor, plugins start nothing.

    Raises `trabbits.config.making.Unmakeable` for a plugin that cannot be made; so does the rest of this module.
    """
    context = plugin_context(config, reactor)
    return SessionSettings(
        upstreams=tuple(
            UpstreamSettings(
                upstream.name,
                _rewriter(upstream, ("upstreams", number), context),
                required=upstream.required,
                try_passive=upstream.queue_options.try_passive,
                emulate_auto_delete=upstream.queue_options.emulate_auto_delete,
                credentials={user: _mapped(each) for user, each in upstream.credentials.items()},
            )
            for number, upstream in enumerate(config.upstreams)
        ),
        routing=made(config.routing, ("routing",), context),
        routing_plugin=config.routing.plugin,
        mechanisms=mechanisms(config, context),
        frame_max=config.frame_max,
        channel_max=config.channel_max,
        heartbeat=config.heartbeat,
        handshake_timeout=config.handshake_timeout,
        connection_close_timeout=config.connection_close_timeout,
        tx_best_effort=config.transactions.best_effort,
        policy_timeout=config.policy_timeout,
        config_hash=config_hash(config),
    )


def build_upstreams(config: Config, table: NodeTable, reactor: Any) -> dict[str, Upstream]:
    """The upstreams of `config` by name, in its order.  Connects nowhere yet.

    From now on `table` holds the nodes of `config`; what it knew of those that stay is kept.
    """
    # Imported late: reading a configuration needs neither Twisted nor txamqp.
    from trabbits.upstream.node import Node
    from trabbits.upstream.upstream import SUSPICION, Upstream

    context = plugin_context(config, reactor)
    selectors = {
        upstream.name: made(upstream.selector, ("upstreams", number, "selector"), context)
        for number, upstream in enumerate(config.upstreams)
    }
    nodes = {
        (upstream.name, Node(address.host, address.port)): upstream.labels.get(address, {})
        for upstream in config.upstreams
        for address in upstream.nodes
    }
    table.keep(nodes, nodes)
    return {
        upstream.name: Upstream(
            upstream.name,
            table.of(upstream.name),
            upstream.timeout,
            reactor,
            required=upstream.required,
            suspicion=upstream.health_check.recovery_interval if upstream.health_check else SUSPICION,
            selector=selectors[upstream.name],
            selector_name=upstream.selector.plugin,
        )
        for upstream in config.upstreams
    }


def build_policies(
    config: Config, reactor: Any, known: Mapping[str, IConnectionPolicy]
) -> list[tuple[str, str, IConnectionPolicy]]:
    """The connection policies in their order: a key, the plugin's name, and the policy.

    `known` are those there were, by key: a policy whose options stay the same goes on.
    """
    context = plugin_context(config, reactor)
    built: list[tuple[str, str, IConnectionPolicy]] = []
    for number, use in enumerate(config.policies):
        same = f"{use.plugin} {json.dumps(use.options, sort_keys=True)}"
        key = f"{same} {sum(each.startswith(same) for each, _, _ in built)}"
        policy = known[key] if key in known else made(use, ("policies", number), context)
        built.append((key, use.plugin, policy))
    return built


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


def _mapped(config: MappedCredentialsConfig) -> Mapped:
    password = _secret(config.password, config.password_file)
    assert password is not None  # the model sees to that
    return Mapped(password, config.username, _secret(config.client_password, config.client_password_file))


def _secret(given: SecretStr | None, file: SecretFile | None) -> str | None:
    secret = given if file is None else file.secret
    return None if secret is None else secret.get_secret_value()


def _rewriter(upstream: UpstreamConfig, location: Location, context: PluginContext) -> RewriterChain | None:
    uses = rewriter_uses(upstream)
    return chained(upstream.name, [(use.plugin, made(use, (*location, *place), context)) for place, use in uses])
