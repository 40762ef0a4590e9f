"""Delivery tags over several links against a naive model: a dictionary from tag to (link, its tag)."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from trabbits.session.deliveries import Deliveries, Entry, UnknownTag


def entry(link: str, tag: int) -> Entry:
    """An entry; what a link is does not matter here."""
    return cast("Entry", (link, tag, None))


class DeliveriesMachine(RuleBasedStateMachine):
    """Anything that can happen to tags, in any order."""

    tags = Bundle("tags")

    def __init__(self) -> None:
        super().__init__()
        self.deliveries = Deliveries()
        self.model: dict[int, Entry] = {}
        self.last = 0
        self.settled: list[tuple[int, Entry]] = []

    @rule(target=tags, link=st.sampled_from("ab"), count=st.integers(1, 5))
    def delivered(self, link: str, count: int) -> int:
        for _ in range(count):
            self.last += 1
            self.model[self.last] = entry(link, self.last * 10)
            assert self.deliveries.issue(self.model[self.last]) == self.last
        return self.last

    @rule(target=tags)
    def delivered_without_acknowledgement(self) -> int:
        self.last += 1
        assert self.deliveries.issue(None) == self.last
        return self.last

    @rule(tag=tags | st.integers(0, 60))
    def settle_one(self, tag: int) -> None:
        if tag not in self.model:
            with pytest.raises(UnknownTag):
                self.deliveries.settle_one(tag)
            return
        assert self.deliveries.settle_one(tag) == self.model[tag]
        self.settled.append((tag, self.model.pop(tag)))

    @rule(tag=tags | st.integers(0, 60))
    def settle_upto(self, tag: int) -> None:
        if tag and tag not in self.model:
            with pytest.raises(UnknownTag):
                self.deliveries.settle_upto(tag)
            return
        expected = [(each, self.model.pop(each)) for each in sorted(self.model) if each <= tag or not tag]
        assert self.deliveries.settle_upto(tag) == expected
        self.settled += expected

    @rule()
    def commit(self) -> None:
        self.settled.clear()

    @rule()
    def rollback(self) -> None:
        self.deliveries.restore(self.settled)
        self.model.update(self.settled)
        self.settled.clear()

    @precondition(lambda self: self.model)
    @rule()
    def recover(self) -> None:
        self.deliveries.clear()
        self.model.clear()

    @invariant()
    def the_same_is_outstanding(self) -> None:
        """And nothing else: memory is for what is outstanding, however old the oldest of it is."""
        assert self.deliveries.outstanding == self.model
        assert self.deliveries.last == self.last


TestDeliveries: Any = DeliveriesMachine.TestCase


def test_an_empty_window_holds_nothing() -> None:
    """However many deliveries were made: memory is for what is outstanding."""
    deliveries = Deliveries()
    for _ in range(100):
        deliveries.issue(None)
        deliveries.settle_one(deliveries.issue(entry("a", 1)))
    assert not deliveries.outstanding
    assert deliveries.last == 200


def test_restoring_nothing() -> None:
    deliveries = Deliveries()
    deliveries.restore([])
    assert deliveries.issue(entry("a", 1)) == 1


@given(st.permutations(range(1, 8)))
def test_settled_in_any_order(order: list[int]) -> None:
    deliveries = Deliveries()
    for tag in range(1, 8):
        deliveries.issue(entry("ab"[tag % 2], tag))
    for tag in order:
        assert deliveries.settle_one(tag)[1] == tag
    assert not deliveries.outstanding
