"""Which plugins a configuration uses, where, and whether they can be made as it says.

Lives here: `Uses`, read off a configuration.  Must not know: what is printed of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen
from pydantic import BaseModel

from trabbits.config import ConfigError, load_config
from trabbits.config.errors import path_text
from trabbits.config.making import plugin_context
from trabbits.config.plugin_use import PluginUse
from trabbits.failures import fence
from trabbits.plugins.catalogue import KINDS, Catalogue, Found
from trabbits.plugins.checking import Checked, check_made
from trabbits.plugins.declaring import PluginContext

_Path = tuple[str | int, ...]
#: Keys of the configuration that are short for a plugin of the same name.
_SHORT = {"queue_attributes": "rewriter"}


@frozen
class _Use:
    place: str
    kind: str
    name: str
    #: None where a key of the configuration stands for the plugin.
    options: Mapping[str, Any] | None = None


@frozen
class Uses:
    """Those of one configuration; `error` says why it cannot be used, then nothing is known."""

    context: PluginContext = field(factory=PluginContext)
    found: tuple[_Use, ...] = ()
    error: str = ""

    def places(self, plugin: Found) -> Iterator[str]:
        """Where the configuration names this plugin, by path."""
        for each in self.found:
            if (each.kind, each.name) == (plugin.kind, plugin.name):
                yield each.place

    def check(self, plugin: Found, catalogue: Catalogue) -> Checked | None:
        """What comes of it with the configuration's options; None where it is not used with any."""
        result = None
        for each in self.found:
            if each.options is None or (each.kind, each.name) != (plugin.kind, plugin.name):
                continue
            context = {"upstreams": self.context.upstreams}
            try:
                with fence():
                    options = plugin.declaration.options.model_validate(each.options, context=context)
            except Exception:
                # The configuration is right, so what looks like this plugin in the options of another is none.
                continue
            result = check_made(plugin, catalogue, self.context, options)
            if result.problem or result.untried:
                # What may be excused with default options may not with these.
                return Checked(f"{each.place}: {result.problem or result.untried}")
        return result


def uses_of(file: str) -> Uses:
    """Those of the configuration in this file.  Never raises because of what is in it."""
    try:
        config = load_config(file).config
    except ConfigError as error:
        return Uses(error=str(error))
    return Uses(plugin_context(config), tuple(_walk(config, ())))


def _walk(value: Any, path: _Path) -> Iterator[_Use]:
    if isinstance(value, PluginUse):
        kind = _kind(value)
        yield _Use(path_text(path), kind, value.plugin, value.options)
        yield from _nested(value.options, (*path, "options"), kind)
    elif isinstance(value, BaseModel):
        for key in type(value).model_fields:
            part = getattr(value, key)
            if key in _SHORT and part is not None:
                yield _Use(path_text((*path, key)), _SHORT[key], key)
            yield from _walk(part, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))


def _nested(value: Any, path: _Path, kind: str) -> Iterator[_Use]:
    """Plugins in the options of those that combine others of their kind."""
    if isinstance(value, Mapping):
        if isinstance(value.get("plugin"), str) and value.keys() <= {"plugin", "options"}:
            options = value.get("options", {})
            yield _Use(path_text(path), kind, value["plugin"], options if isinstance(options, Mapping) else None)
        for key, item in value.items():
            yield from _nested(item, (*path, str(key)), kind)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _nested(item, (*path, index), kind)


def _kind(use: PluginUse) -> str:
    return KINDS[use.provides]
