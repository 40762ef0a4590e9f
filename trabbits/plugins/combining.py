"""What strategies that ask others share: how a part stands in the options, how it is made, and how it is asked.

Lives here: `Part`, `made`, `question`, `say_what_they_read`, `PartFailed`.  Part of the public contract, with
``trabbits.interfaces``.
Must not know: which strategies there are; the context makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field, ValidationError, field_serializer
from zope.interface import alsoProvides

from trabbits.failures import error_text, let_through
from trabbits.interfaces import (
    Decision,
    IMessageRoutingStrategy,
    IPropertyRoutingStrategy,
    IRoutingStrategy,
    MessageProperties,
)
from trabbits.plugins.declaring import PluginContext, PluginOptions

#: Answers remembered for each part that needs no properties, beside parts that do.
_REMEMBERED: Final = 4096

Question: TypeAlias = Callable[[str, str, MessageProperties], Decision]


class PartFailed(Exception):
    """One of the strategies raised; the text says which.

    Made of anything that was raised, as by ``sys.exit()``; an operator's KeyboardInterrupt is raised again.
    """

    def __init__(self, part: str, error: BaseException) -> None:
        let_through(error)
        super().__init__(f"{part} failed: {error_text(error)}")


def question(part: Any) -> Question:
    """How a part is asked with properties; what it answers without them is asked once and remembered."""
    if IMessageRoutingStrategy.providedBy(part):
        asked: Question = part.route_message
        return asked
    remembered = lru_cache(maxsize=_REMEMBERED)(part.route)
    return lambda exchange, routing_key, _: remembered(exchange, routing_key)


def say_what_they_read(strategy: Any, parts: Iterable[Any]) -> None:
    """Have a strategy name what decides the answers of `parts`, unless one reads properties and does not say which."""
    headers: dict[str, None] = {}
    properties: dict[str, None] = {}
    for part in parts:
        if IPropertyRoutingStrategy.providedBy(part):
            headers.update(dict.fromkeys(part.header_names))
            properties.update(dict.fromkeys(part.property_names))
        elif IMessageRoutingStrategy.providedBy(part):
            return
    strategy.header_names, strategy.property_names = tuple(headers), tuple(properties)
    alsoProvides(strategy, IPropertyRoutingStrategy)


class Part(PluginOptions):
    """One of the strategies."""

    plugin: Annotated[str, Field(min_length=1)]
    """Its name; `trabbits plugins list` shows all."""
    options: dict[str, Any] = {}
    """What it is told; every plugin has its own."""

    @field_serializer("options", when_used="json")
    def _masked(self, options: dict[str, Any]) -> dict[str, Any]:
        """Only the plugin's own options know which of them are secrets."""
        from trabbits.plugins.catalogue import UnknownPlugin, discover

        try:
            validated = discover().get(IRoutingStrategy, self.plugin).options.model_validate(options)
        except (UnknownPlugin, ValidationError):
            return dict.fromkeys(options, "**********")
        shown: dict[str, Any] = validated.model_dump(mode="json")
        return shown


def made(context: PluginContext, part: Part, place: str) -> IRoutingStrategy:
    """The strategy for a part.  Raises ValueError, with `place` in its text, if it cannot be made."""
    if context.routing is None:
        raise ValueError("nothing here makes the strategies that this one asks")
    try:
        strategy: IRoutingStrategy = context.routing(part.plugin, part.options)
    except ValidationError as error:
        items = error.errors(include_input=False)
        raise ValueError("; ".join(f"{place}{_path(item['loc'])}: {item['msg']}" for item in items)) from None
    except (ValueError, LookupError) as error:
        raise ValueError(f'{place} "{part.plugin}": {error}') from None
    return strategy


def _path(location: Sequence[int | str]) -> str:
    # With "[key]" pydantic says that the name before it is what is wrong.
    steps = (step for step in location if step != "[key]")
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
