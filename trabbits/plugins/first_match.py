"""Several strategies in turn: the first one that has an opinion decides.

Lives here: `FirstMatch`, `FirstMatchByMessage` and the declaration.
Must not know: how parts are made and asked (``combining.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from zope.interface import alsoProvides, implementer

from trabbits.interfaces import (
    Decision,
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IRoutingStrategy,
    MessageProperties,
)
from trabbits.plugins.combining import Part, PartFailed, made, question, say_what_they_read
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions

NAME: Final = "first_match"
#: How deep these may stand in each other.
NESTING_MAX: Final = 8


@implementer(IRoutingStrategy)
class FirstMatch:
    """Asks `parts`, each with a name for errors, one after the other; none of them reads properties."""

    def __init__(self, parts: Sequence[tuple[str, IRoutingStrategy]]) -> None:
        self._parts = [(name, part.route) for name, part in parts]

    def route(self, exchange: str, routing_key: str) -> Decision:
        for name, ask in self._parts:
            try:
                upstream = ask(exchange, routing_key)
            except BaseException as error:
                raise PartFailed(name, error) from error
            if upstream is not None:
                return upstream
        return None


@implementer(IMessageRoutingStrategy)
class FirstMatchByMessage(FirstMatch):
    """The same where one of `parts` reads properties.  What the others answer is still asked once and remembered."""

    def __init__(self, parts: Sequence[tuple[str, IRoutingStrategy]]) -> None:
        super().__init__(parts)
        self._questions = [(name, question(part)) for name, part in parts]
        say_what_they_read(self, (part for _, part in parts))

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        for name, ask in self._questions:
            try:
                upstream = ask(exchange, routing_key, properties)
            except BaseException as error:
                raise PartFailed(name, error) from error
            if upstream is not None:
                return upstream
        return None


class FirstMatchOptions(PluginOptions):
    """The strategies."""

    strategies: Annotated[list[Part], Field(min_length=1)]
    """The strategies, each a plugin's name and its options; the first that has an opinion decides."""

    @field_validator("strategies")
    @classmethod
    def _not_too_deep(cls, strategies: list[Part]) -> list[Part]:
        layer = [part.options for part in strategies if part.plugin == NAME]
        for _ in range(NESTING_MAX - 1):
            layer = [inner for options in layer for inner in _nested(options)]
        if layer:
            what = f"{NAME} in {NAME} at most {NESTING_MAX} deep"
            raise PydanticCustomError("expected", "expected {what}", {"what": what, "hide": True})
        return strategies


def _nested(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of each of these in one's unchecked options."""
    parts = options.get("strategies")
    return [
        part["options"]
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and part.get("plugin") == NAME and isinstance(part.get("options"), dict)
    ]


def _make(options: FirstMatchOptions, context: PluginContext) -> IRoutingStrategy:
    parts = []
    problems = []
    for index, part in enumerate(options.strategies):
        place = f"strategies[{index}]"
        try:
            parts.append((f'{place} "{part.plugin}"', made(context, part, place)))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    reads_properties = any(IMessageRoutingStrategy.providedBy(strategy) for _, strategy in parts)
    first = FirstMatchByMessage(parts) if reads_properties else FirstMatch(parts)
    if any(IMirroringStrategy.providedBy(strategy) for _, strategy in parts):
        alsoProvides(first, IMirroringStrategy)
    return first


first_match = Plugin(
    NAME, IRoutingStrategy, FirstMatchOptions, _make, "the first of several strategies that has an opinion"
)
