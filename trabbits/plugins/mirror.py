"""Copies of messages for other upstreams: one decides where a message belongs, others get the same.

Lives here: `Mirror`, `MirrorByMessage` and the declaration.
Must not know: how a copy travels (``trabbits.session``), which strategy decides (``combining.py``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Final

from attrs import frozen
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from trabbits.interfaces import (
    COPY_MAX,
    Decision,
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IRoutingStrategy,
    MessageProperties,
    Mirrored,
)
from trabbits.plugins.combining import Part, PartFailed, made, say_what_they_read
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions, UpstreamName
from trabbits.plugins.sticky import POINTS, point

#: What a key's place for `percent` is made from, so that it has nothing to do with its place for `weighted`.
_SALT: Final = b"mirror\0"
#: Octets; sessions keep little more than that for copies.
_LARGEST: Final = 16 * 1024 * 1024
#: Answers; there are a few for each upstream.
_REMEMBERED: Final = 1024


@frozen
class Wishes:
    """What is copied: `copies` are upstreams, `border` is the first point whose keys are not."""

    copies: tuple[str, ...]
    border: int
    max_size: int

    def added_to(self, decision: Decision, routing_key: str) -> Decision:
        """The same decision, with copies as wished."""
        if self.border < POINTS and point(_SALT + routing_key.encode("utf-8", "surrogatepass")) >= self.border:
            return decision
        if isinstance(decision, Mirrored):  # a mirror in this one
            copies, max_size = (*decision.copies, *self.copies), min(decision.max_size, self.max_size)
            return _mirrored(decision.upstream, copies, max_size)
        return _mirrored(decision, self.copies, self.max_size)


@lru_cache(maxsize=_REMEMBERED)
def _mirrored(upstream: str | None, copies: tuple[str, ...], max_size: int) -> Decision:
    others = tuple(name for name in dict.fromkeys(copies) if name != upstream)
    return Mirrored(upstream, others, max_size) if others else upstream


@implementer(IMirroringStrategy)
class Mirror:
    """Lets `inner`, which has a `name` for errors, decide where a message belongs."""

    def __init__(self, name: str, inner: IRoutingStrategy, wishes: Wishes) -> None:
        self._name = name
        self._route = inner.route
        self._wishes = wishes

    def route(self, exchange: str, routing_key: str) -> Decision:
        try:
            decision = self._route(exchange, routing_key)
        except BaseException as error:
            raise PartFailed(self._name, error) from error
        return self._wishes.added_to(decision, routing_key)


@implementer(IMessageRoutingStrategy)
class MirrorByMessage(Mirror):
    """The same where `inner` reads properties."""

    def __init__(self, name: str, inner: IMessageRoutingStrategy, wishes: Wishes) -> None:
        super().__init__(name, inner, wishes)
        self._route_message = inner.route_message
        say_what_they_read(self, [inner])

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Decision:
        try:
            decision = self._route_message(exchange, routing_key, properties)
        except BaseException as error:
            raise PartFailed(self._name, error) from error
        return self._wishes.added_to(decision, routing_key)


def _listed(to: Any) -> Any:
    return [to] if isinstance(to, str) else to


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise PydanticCustomError("expected", "expected {what}", {"what": "each upstream once"})
    return names


class MirrorOptions(PluginOptions):
    """What is copied, and where to."""

    to: Annotated[
        list[UpstreamName],
        Field(min_length=1),
        BeforeValidator(_listed, json_schema_input_type=UpstreamName | list[UpstreamName]),
        AfterValidator(_each_once),
    ]
    """The upstream that gets the copies, or a list of them."""
    routing: Part = Part(plugin="key_patterns")
    """The strategy, a plugin's name and its options, that decides which upstream a message belongs to."""
    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 100
    """Which share of the routing keys is copied."""
    max_size: Annotated[int, Field(ge=0, le=_LARGEST)] = COPY_MAX
    """Octets of the largest body that is copied."""


def _make(options: MirrorOptions, context: PluginContext) -> IRoutingStrategy:
    inner = made(context, options.routing, "routing")
    wishes = Wishes(tuple(options.to), round(options.percent / 100 * POINTS), options.max_size)
    name = f'routing "{options.routing.plugin}"'
    if IMessageRoutingStrategy.providedBy(inner):
        return MirrorByMessage(name, inner, wishes)
    return Mirror(name, inner, wishes)


mirror = Plugin("mirror", IRoutingStrategy, MirrorOptions, _make, "what another strategy decides, and copies elsewhere")
