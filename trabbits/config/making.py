"""Whether the plugins of a configuration can be made as it says; some mistakes show only then.

Lives here: what plugins are told of the configuration, and how they are made.  Must not know: what plugins are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from trabbits.config.errors import Location, path_text
from trabbits.config.model import Config, UpstreamConfig
from trabbits.config.plugin_use import MechanismUse, PluginUse, RewriterUse, RoutingUse
from trabbits.failures import fence, where_it_failed
from trabbits.plugins.declaring import PluginContext
from trabbits.session.authentication import MechanismSettings
from trabbits.session.credentials import ANYBODY


class Unmakeable(Exception):
    """At `location`, a plugin cannot be made; `text` is the plugin's own."""

    def __init__(self, location: Location, text: str) -> None:
        super().__init__(location, text)
        self.location = location
        self.text = text


def plugin_context(config: Config, reactor: Any = None) -> PluginContext:
    """What plugins are told of `config`.  Without a reactor they start nothing."""
    names = tuple(upstream.name for upstream in config.upstreams)

    def routing(plugin: str, options: Mapping[str, Any]) -> Any:
        raw = {"plugin": plugin, "options": dict(options)}
        return RoutingUse.model_validate(raw, context={"upstreams": names}).make(context)

    context = PluginContext(
        upstreams=names,
        key_patterns={upstream.name: tuple(upstream.routing.key_patterns) for upstream in config.upstreams},
        reactor=reactor,
        routing=routing,
        client_certificates=config.tls is not None and config.tls.client_ca is not None,
    )
    return context


def plugin_uses(config: Config) -> Iterator[tuple[Location, PluginUse]]:
    """Every plugin that `config` names, with its place; those inside another one's options are its own affair."""
    yield ("routing",), config.routing
    for index, mechanism in enumerate(config.authentication.mechanisms):
        yield ("authentication", "mechanisms", index), mechanism
    for index, policy in enumerate(config.policies):
        yield ("policies", index), policy
    for number, upstream in enumerate(config.upstreams):
        for place, rewriter in rewriter_uses(upstream):
            yield ("upstreams", number, *place), rewriter
        yield ("upstreams", number, "selector"), upstream.selector


def rewriter_uses(upstream: UpstreamConfig) -> Iterator[tuple[Location, RewriterUse]]:
    """The rewriters of an upstream in their order, each with its place there; a key is short for the first one."""
    attributes = upstream.queue_attributes
    if attributes is not None:
        options = {name: getattr(attributes, name) for name in type(attributes).model_fields}
        yield ("queue_attributes",), RewriterUse(plugin="queue_attributes", options=options)
    for index, use in enumerate(upstream.rewriters):
        yield ("rewriters", index), use


def made(use: PluginUse, location: Location, context: PluginContext) -> Any:
    """What the plugin that is used at `location` is for.  Raises `Unmakeable`, whatever the plugin raises."""
    try:
        return use.make(context)
    except ValidationError as error:  # its text would show values
        items = error.errors(include_url=False, include_input=False)
        text = "; ".join(f"{path_text(item['loc'])}: {item['msg']}" for item in items)
    except ValueError as error:
        text = str(error)
    except Exception as error:
        text = f'the plugin "{use.plugin}" cannot be made: {where_it_failed(error)}'
    if context.reactor is not None:
        # Without, it could be made.
        text = (
            f'the plugin "{use.plugin}" fails when it is to start, which `trabbits config check` does not try '
            f"({text}): remove the cause, or take the plugin out of the configuration"
        )
    raise Unmakeable((*location, "options"), text)


def mechanisms(config: Config, context: PluginContext) -> tuple[MechanismSettings, ...]:
    """The authentication mechanisms, in the configuration's order.  Raises `Unmakeable`."""
    uses = enumerate(config.authentication.mechanisms)
    return tuple(_mechanism(use, ("authentication", "mechanisms", index), context) for index, use in uses)


def _mechanism(use: MechanismUse, location: Location, context: PluginContext) -> MechanismSettings:
    mechanism = made(use, location, context)
    try:
        with fence():
            return MechanismSettings.of(use.plugin, mechanism)
    except ValueError as error:
        text = str(error)
    except Exception as error:  # attributes that raise
        text = f'the plugin "{use.plugin}" cannot be looked at: {where_it_failed(error)}'
    raise Unmakeable((*location, "options"), text)


def unmakeable(config: Config) -> Iterator[Unmakeable]:
    """Make every plugin once, starting nothing, and tell which of them refuse, or do not go together."""
    context = plugin_context(config)
    found: list[MechanismSettings] = []
    for location, use in plugin_uses(config):
        try:
            if isinstance(use, MechanismUse):
                found.append(_mechanism(use, location, context))
            else:
                made(use, location, context)
        except Unmakeable as problem:
            yield problem
    if len(found) == len(config.authentication.mechanisms):
        yield from _authentication_problems(config, found)


def _authentication_problems(config: Config, found: Sequence[MechanismSettings]) -> Iterator[Unmakeable]:
    """What can be said of the mechanisms only when it is known what they are."""
    names = [each.name for each in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            text = f"expected a mechanism that no other one is announced as, found {name}"
            yield Unmakeable(("authentication", "mechanisms", index), text)
    if config.tls is None and all(each.needs_tls for each in found):
        yield Unmakeable(("tls",), "expected an object: every mechanism needs TLS, so nobody could log in")
    if any(each.verifies for each in found):
        return
    text = (
        'expected a "client_password" or "client_password_file", here or at another upstream: every upstream has '
        "mapped credentials for this user, so nobody could check the password"
    )
    for index, upstream in enumerate(config.upstreams):
        for user in upstream.credentials:
            before = config.upstreams[:index]
            if not any(user in each.credentials for each in before) and not _is_checked(config, user):
                yield Unmakeable(("upstreams", index, "credentials", user), text)


def _is_checked(config: Config, user: str) -> bool:
    """Whether anybody can tell if this user's password is right."""
    mapped = [each.credentials.get(user) or each.credentials.get(ANYBODY) for each in config.upstreams]
    return any(
        each is None or each.client_password is not None or each.client_password_file is not None for each in mapped
    )
