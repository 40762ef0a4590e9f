"""What all contract tests share: failing with a reason, measuring a call, and inputs that nobody thinks of.

Lives here: `require`, `require_prompt`, texts and values as clients may send them, properties that notice who looks.
Must not know: any interface of plugins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from time import perf_counter
from typing import Any, Final

from attrs import fields

from trabbits.interfaces import MessageProperties

#: Short strings as AMQP lets clients choose them: at most 255 octets, UTF-8 or not (then with lone surrogates).
ODD_TEXTS: Final = (
    "",
    "a",
    ".",
    "a..b",
    "#",
    "*.#.%",
    " ",
    "\n",
    "a\0b",
    "{}%s{0}",
    "../../etc/passwd",
    "ü" * 127,
    "🐇" * 63,
    "x" * 255,
    "." * 255,
    "\udcff",
    "a\udc80.b",
    "\udce2\udc28" * 127,
)

#: Values of a table, of each kind that AMQP has (section 4.2.5.5, and RabbitMQ's list of what it takes).
ODD_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    1.5,
    math.inf,
    math.nan,
    Decimal("1.10"),
    datetime(2026, 1, 1, tzinfo=UTC),
    *ODD_TEXTS,
    "x" * 100_000,
    b"\xff\x00",
    bytearray(b"\x00"),
    [],
    [None, "a", 1, [b""]],
    {},
    {"a": {"b": [{}]}},
)


def require(holds: bool, rule: str) -> None:
    """AssertionError with `rule` unless it holds; unlike ``assert``, also where Python runs with -O."""
    if not holds:
        raise AssertionError(rule)


def require_prompt(what: str, limit: float, calls: Iterable[Callable[[], object]]) -> None:
    """Every one of `calls` is made; the quickest has to be over within `limit` seconds.

    Whoever waits for something waits every time; the quickest one is not late because the machine was busy.
    """
    shortest = math.inf
    for call in calls:
        began = perf_counter()
        call()
        shortest = min(shortest, perf_counter() - began)
    require(shortest <= limit, f"{what} takes {shortest:.3f} s or more; it must not block, and has {limit:g} s")


class OpenMapping(Mapping[str, Any]):
    """A mapping that is no dict, as trabbits hands them out, and that notes which names somebody `asked` for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = deepcopy(dict(values))
        self._before = deepcopy(self._values)
        self.asked: set[str] = set()

    @property
    def unchanged(self) -> bool:
        """Whether all values are still what they were."""
        # Not by ==: a NaN is not equal to itself.
        return repr(self._values) == repr(self._before)

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class OpenProperties(MessageProperties):
    """Properties that are decoded when looked at, as trabbits hands them out, and that note which were `asked` for."""

    headers: OpenMapping
    asked: set[str]

    def __init__(self, values: MessageProperties) -> None:
        set_attribute = partial(object.__setattr__, self)
        set_attribute("_values", values)
        set_attribute("asked", set[str]())
        set_attribute("headers", OpenMapping(values.headers))

    @property
    def unchanged(self) -> bool:
        """Whether all headers are still what they were."""
        return self.headers.unchanged


def _asked(name: str, properties: Any) -> Any:
    properties.asked.add(name)
    return getattr(properties._values, name)


for _each in fields(MessageProperties):
    if _each.name != "headers":
        setattr(OpenProperties, _each.name, property(partial(_asked, _each.name)))
