"""Whether the plugins of a configuration can be made as it says; some mistakes show only then.

Lives here: what plugins are told of the configuration, and the attempt.  Must not know: what plugins are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen
from pydantic import ValidationError

from trabbits.config.errors import Location, path_text
from trabbits.config.model import Config
from trabbits.config.plugin_use import PluginUse, RoutingUse, where_it_failed
from trabbits.plugins.declaring import PluginContext


@frozen
class Unmakeable:
    """At `location`, a plugin cannot be made; `text` is the plugin's own."""

    location: Location
    text: str


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
    )
    return context


def plugin_uses(config: Config) -> Iterator[tuple[Location, PluginUse]]:
    """Every plugin that `config` names, with its place; those inside another one's options are its own affair."""
    yield ("routing",), config.routing
    for index, policy in enumerate(config.policies):
        yield ("policies", index), policy
    for number, upstream in enumerate(config.upstreams):
        for index, rewriter in enumerate(upstream.rewriters):
            yield ("upstreams", number, "rewriters", index), rewriter
        yield ("upstreams", number, "selector"), upstream.selector


def unmakeable(config: Config) -> Iterator[Unmakeable]:
    """Make every plugin once, starting nothing, and tell which of them refuse."""
    context = plugin_context(config)
    for location, use in plugin_uses(config):
        try:
            use.make(context)
        except ValidationError as error:  # its text would show values
            items = error.errors(include_url=False, include_input=False)
            text = "; ".join(f"{path_text(item['loc'])}: {item['msg']}" for item in items)
        except ValueError as error:
            text = str(error)
        except Exception as error:
            text = f'the plugin "{use.plugin}" cannot be made: {where_it_failed(error)}'
        else:
            continue
        yield Unmakeable((*location, "options"), text)
