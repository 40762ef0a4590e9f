"""Plugins that break one rule of their contract each: shows that the test of this rule notices.

Lives here: `Wrong`, one row of a table, `broken`, which says what its test finds, and `rules_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen


@frozen
class Wrong:
    """`rule` is the test of the mix-in that has to fail, with `text`; `case` makes the tests."""

    rule: str
    text: str
    case: Callable[[], Any]

    def __str__(self) -> str:
        return f"{self.rule.removeprefix('test_')}: {self.text}"


def making(mix_in: type[Any], **attributes: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Turns a class of wrong plugins into the class of its tests."""

    def of(wrong: Callable[[], Any]) -> Callable[[], Any]:
        return type("Case", (mix_in,), {**attributes, "make_plugin": lambda self, reactor=None: wrong()})

    return of


def assert_noticed(wrong: Wrong) -> None:
    """The test of this rule fails, and says why."""
    case = wrong.case()
    with pytest.raises(AssertionError) as noticed:
        getattr(case, wrong.rule)()
    assert wrong.text in str(noticed.value)


def rules_of(mix_in: type[Any], base: type[Any] = object) -> set[str]:
    """The tests of a mix-in, without those that `base` has."""
    return {name for name in dir(mix_in) if name.startswith("test_") and not hasattr(base, name)}
