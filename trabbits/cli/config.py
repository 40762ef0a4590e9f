"""``trabbits config``: what can be done with a configuration without running it.

Lives here: the commands and the summary they print.  Must not know: how a configuration is read or checked.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from copy import copy
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trabbits.config import Config
    from trabbits.config.model import ClusterConfig, HealthCheckConfig, QueueAttributesConfig, TlsConfig, UpstreamConfig
    from trabbits.config.plugin_use import PluginUse


@click.group()
def config() -> None:
    """Check a configuration, or describe what can be in one."""


@config.command()
@click.argument("file")
def check(file: str) -> None:
    """Tell whether the configuration FILE can be used, and what would run.

    FILE is read as `trabbits run --config FILE` would read it: JSON, or Jsonnet where its name ends with .jsonnet or
    .libsonnet, with the variables of this environment.  Nothing is connected to.

    Prints "ok" and a summary without secrets, or every error with its path.  Warnings go to standard error.  The exit
    status is 0 if the configuration can be used and 2 otherwise.
    """
    from trabbits.config import ConfigError, load_config

    try:
        loaded = load_config(file)
    except ConfigError as error:
        _complain("error", "red", str(error))
        sys.exit(2)
    for warning in loaded.warnings:
        _complain("warning", "yellow", f"{loaded.source}: {warning}")
    click.echo(f"{click.style('ok', fg='green', bold=True)}: {loaded.source}", color=_color())
    for title, rows in summary(loaded.config):
        click.echo(f"\n{click.style(title, bold=True)}", color=_color())
        for label, value in rows:
            click.echo(f"  {label:<18} {value}")


#: ``trabbits check-config``, as other proxies call it.
check_alias = copy(check)
check_alias.name, check_alias.hidden = "check-config", True


@config.command()
def schema() -> None:
    """Print a JSON Schema of the configuration (draft 2020-12).

    Editors complete and check with it: write it to a file, and name that file in the configuration's "$schema".
    """
    from trabbits.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _complain(word: str, color: str, text: str) -> None:
    click.echo(f"trabbits: {click.style(f'{word}:', fg=color, bold=True)} {text}", err=True, color=_color())


def _color() -> bool | None:
    """No colors where they are not wanted (no-color.org); otherwise click's choice: on terminals only."""
    return False if os.environ.get("NO_COLOR") else None


Rows = list[tuple[str, str]]


def summary(config: Config) -> Iterator[tuple[str, Rows]]:
    """What would run: titles, each with rows of a label and a value.  No secrets."""
    from trabbits.assembly import session_settings

    channel_max = session_settings(config).offered_channel_max
    for index, upstream in enumerate(config.upstreams):
        yield f"upstream {upstream.name}", list(_upstream(upstream, config.routing.plugin, is_first=index == 0))
    leaving = config.graceful_shutdown
    yield (
        "clients",
        [
            ("session", "plain: one upstream" if len(config.upstreams) == 1 else "fan: several upstreams as one"),
            ("offered", f"frame_max {config.frame_max}, channel_max {channel_max}, {_heartbeat(config)}"),
            ("handshake", f"within {_time(config.handshake_timeout)}"),
            ("log in by", ", ".join(map(_plugin, config.authentication.mechanisms))),
            ("TLS", _tls(config.tls)),
            ("policies", _policies(config)),
            ("routing", _plugin(config.routing)),
            ("connection close", f"within {_time(config.connection_close_timeout)}"),
            (
                "transactions",
                "best effort over several upstreams" if config.transactions.best_effort else "of one upstream each",
            ),
        ],
    )
    yield (
        "leaving",
        [
            ("shutdown", f"within {_time(leaving.shutdown_timeout)}"),
            ("reload", f"within {_time(leaving.reload_timeout)}"),
            ("pace", f"{leaving.burst_size} clients at once, then {leaving.rate_limit} per second"),
        ],
    )


def _upstream(upstream: UpstreamConfig, routing: str, *, is_first: bool) -> Iterator[tuple[str, str]]:
    if upstream.cluster is None:
        yield "node", str(upstream.address)
    else:
        yield "nodes", _nodes(upstream.cluster)
        yield "selector", _plugin(upstream.selector)
    yield "required", "yes" if upstream.required else "no: clients connect without it while it is down"
    yield "timeout", _time(upstream.timeout)
    yield "health check", _health_check(upstream.health_check)
    yield "gets", _messages(upstream, routing, is_first=is_first)
    yield "queue attributes", _attributes(upstream.queue_attributes)
    yield "rewriters", ", ".join(map(_plugin, upstream.rewriters)) or "none"
    yield "credentials", _credentials(upstream)
    options = [name for name, is_on in upstream.queue_options if is_on]
    yield "queue options", ", ".join(options) or "none"


def _nodes(cluster: ClusterConfig) -> str:
    return ", ".join(
        f"{node.address} {_json(node.labels)}" if node.labels else str(node.address) for node in cluster.nodes
    )


def _messages(upstream: UpstreamConfig, routing: str, *, is_first: bool) -> str:
    if routing != "key_patterns":
        return f"what {_name(routing)} routes to it{', and what it has no opinion about' if is_first else ''}"
    patterns = list(map(_json, upstream.routing.key_patterns))
    if is_first:
        patterns.append("what no pattern matches")
    return ", ".join(patterns) or "no messages (no key_patterns)"


def _credentials(upstream: UpstreamConfig) -> str:
    from trabbits.session.credentials import ANYBODY

    users = sorted(upstream.credentials, key=lambda user: (user == ANYBODY, user))
    mapped = ["all others" if user == ANYBODY else _json(user) for user in users]
    return f"mapped for {', '.join(mapped)}" if mapped else "the clients' own"


def _tls(tls: TlsConfig | None) -> str:
    if tls is None:
        return "no port of its own"
    if tls.client_ca is None:
        return f"at {tls.listen}"
    return f"at {tls.listen}, client certificates {tls.client_certificate or 'required'}"


def _policies(config: Config) -> str:
    if not config.policies:
        return "none: everybody may connect"
    return f"{', '.join(map(_plugin, config.policies))}; each within {_time(config.policy_timeout)}"


def _plugin(use: PluginUse) -> str:
    return f"{_name(use.plugin)} {_json(use.shown)}" if use.shown else _name(use.plugin)


def _health_check(check: HealthCheckConfig | None) -> str:
    if check is None or not check.enabled:
        return "off"
    return (
        f"every {_time(check.interval)} within {_time(check.timeout)} as {_json(check.username or '')} "
        f"at {_json(check.virtual_host)}; isolated after {check.unhealthy_threshold} failures, "
        f"then every {_time(check.recovery_interval)}"
    )


def _attributes(attributes: QueueAttributesConfig | None) -> str:
    if attributes is None:
        return "as clients say"
    flags = {name: getattr(attributes, name) for name in ("durable", "auto_delete", "exclusive")}
    parts = [f"{name} {_json(value)}" for name, value in flags.items() if value is not None]
    parts += [
        f"without {_name(name)}" if value is None else f"{_name(name)} {_json(value)}"
        for name, value in attributes.arguments.items()
    ]
    return ", ".join(parts) or "as clients say"


def _name(text: str) -> str:
    return text if text.isprintable() else _json(text)


def _heartbeat(config: Config) -> str:
    return f"heartbeat {_time(config.heartbeat)}" if config.heartbeat else "no heartbeat"


def _time(seconds: float) -> str:
    from trabbits.config.durations import format_duration

    return format_duration(float(seconds))


def _json(value: object) -> str:
    """With escapes in place of control characters, which no terminal should get."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value).replace("\x7f", "\\u007f")
