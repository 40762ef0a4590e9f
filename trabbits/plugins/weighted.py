"""Routing by percentages: traffic moves from one upstream to another step by step.

Lives here: `Shares` and the declaration.  Must not know: which part of a message is its key (``sticky.py``).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.declaring import Plugin, PluginContext, UpstreamName
from trabbits.plugins.sticky import POINTS, StickyOptions, sticky

#: How far from 100 the sum may be, for thirds and the like, and because 0.1 has no exact binary form.
_TOLERANCE = 0.000_1


class Shares:
    """Cuts the points into one range for each upstream, in the order given and as wide as its weight.

    When a border moves, the keys between its old and its new place move, and no others.
    """

    def __init__(self, weights: Iterable[tuple[str, float]]) -> None:
        weighty = [(name, weight) for name, weight in weights if weight > 0]
        total = math.fsum(weight for _, weight in weighty)
        self._names = [name for name, _ in weighty]
        self._borders: list[int] = []
        for last in range(1, len(weighty)):
            before = math.fsum(weight for _, weight in weighty[:last])
            self._borders.append(round(before / total * POINTS))

    def __call__(self, point: int) -> str:
        return self._names[bisect_right(self._borders, point)]


def _all_of_it(weights: dict[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    if not abs(total - 100) <= _TOLERANCE:
        what = f"weights with a sum of 100, not {total:.10g}"
        raise PydanticCustomError("expected", "expected {what}", {"what": what, "hide": True})
    return weights


Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class WeightedOptions(StickyOptions):
    """Which share of the keys each upstream gets."""

    weights: Annotated[dict[UpstreamName, Weight], AfterValidator(_all_of_it)]
    """The percentage of each upstream, 0 for one that gets nothing yet; together 100."""


def _make(options: WeightedOptions, context: PluginContext) -> IRoutingStrategy:
    # Not in the order of the object's keys, which has no meaning: Jsonnet, for one, sorts them.
    ranks = {name: rank for rank, name in enumerate(context.upstreams)}
    ordered = sorted(options.weights.items(), key=lambda item: (ranks.get(item[0], len(ranks)), item[0]))
    return sticky(options, Shares(ordered))


weighted = Plugin(
    "weighted",
    IRoutingStrategy,
    WeightedOptions,
    _make,
    "percentages of the routing keys, or of the values of a header",
)
