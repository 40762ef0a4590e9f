"""Several strategies in turn: the first one that has an opinion decides.

Lives here: `FirstMatch`, `FirstMatchByMessage` and the declaration.
Must not know: which strategies there are; the context makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field, ValidationError, field_serializer, field_validator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from trabbits.interfaces import IMessageRoutingStrategy, IRoutingStrategy
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions

NAME: Final = "first_match"
#: How deep these may stand in each other.
NESTING_MAX: Final = 8
#: Answers remembered for each part that needs no headers, beside parts that do.
_REMEMBERED: Final = 4096

Question: TypeAlias = Callable[[str, str, Mapping[str, Any]], str | None]


class PartFailed(Exception):
    """One of the strategies raised; the text says which."""

    def __init__(self, part: str, error: Exception) -> None:
        super().__init__(f"{part} failed: {type(error).__name__}: {error}")


@implementer(IRoutingStrategy)
class FirstMatch:
    """Asks `parts`, each with a name for errors, one after the other; none of them reads headers."""

    def __init__(self, parts: Sequence[tuple[str, IRoutingStrategy]]) -> None:
        self._parts = [(name, part.route) for name, part in parts]

    def route(self, exchange: str, routing_key: str) -> str | None:
        for name, ask in self._parts:
            try:
                upstream = ask(exchange, routing_key)
            except Exception as error:
                raise PartFailed(name, error) from error
            if upstream is not None:
                return upstream
        return None


@implementer(IMessageRoutingStrategy)
class FirstMatchByMessage(FirstMatch):
    """The same where one of `parts` reads headers.  What the others answer is still asked once and remembered."""

    def __init__(self, parts: Sequence[tuple[str, IRoutingStrategy]]) -> None:
        super().__init__(parts)
        self._questions = [(name, _question(part)) for name, part in parts]

    def route_message(self, exchange: str, routing_key: str, headers: Mapping[str, Any]) -> str | None:
        for name, ask in self._questions:
            try:
                upstream = ask(exchange, routing_key, headers)
            except Exception as error:
                raise PartFailed(name, error) from error
            if upstream is not None:
                return upstream
        return None


def _question(part: Any) -> Question:
    if IMessageRoutingStrategy.providedBy(part):
        asked: Question = part.route_message
        return asked
    remembered = lru_cache(maxsize=_REMEMBERED)(part.route)
    return lambda exchange, routing_key, _: remembered(exchange, routing_key)


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
    if context.routing is None:
        raise ValueError("nothing here makes the strategies that this one asks")
    parts = []
    problems = []
    for index, part in enumerate(options.strategies):
        place = f"strategies[{index}]"
        try:
            parts.append((f'{place} "{part.plugin}"', context.routing(part.plugin, part.options)))
        except ValidationError as error:
            problems += [f"{place}{_path(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        except (ValueError, LookupError) as error:
            problems.append(f'{place} "{part.plugin}": {error}')
    if problems:
        raise ValueError("; ".join(problems))
    if any(IMessageRoutingStrategy.providedBy(strategy) for _, strategy in parts):
        return FirstMatchByMessage(parts)
    return FirstMatch(parts)


def _path(location: Sequence[int | str]) -> str:
    # With "[key]" pydantic says that the name before it is what is wrong.
    steps = (step for step in location if step != "[key]")
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


first_match = Plugin(
    NAME, IRoutingStrategy, FirstMatchOptions, _make, "the first of several strategies that has an opinion"
)
