"""What a simulation says when something that must hold does not."""

from __future__ import annotations


class Broken(AssertionError):
    """An invariant is broken: `invariant` is its name in ``docs/testing/simulation.md``."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


def demand(holds: object, invariant: str, text: str) -> None:
    """Raise `Broken` unless it holds."""
    if not holds:
        raise Broken(invariant, text)
