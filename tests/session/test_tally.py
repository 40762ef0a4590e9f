"""Counting what is not settled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trabbits.session.tally import Tally

STEPS = st.lists(
    st.one_of(
        st.just(("issue", 0)),
        st.tuples(st.just("one"), st.integers(0, 40)),
        st.tuples(st.just("multiple"), st.integers(0, 40)),
        st.just(("all", 0)),
    ),
    max_size=120,
)


@given(STEPS)
def test_it_counts_as_a_set_of_open_tags_would(steps: list[tuple[str, int]]) -> None:
    tally, open_tags = Tally(), set[int]()
    for step, tag in steps:
        if step == "issue":
            tally.issued += 1
            open_tags.add(tally.issued)
        elif step == "one":
            if tag <= tally.issued and tag not in open_tags:
                continue  # settled before
            tally.settle(tag)
            open_tags.discard(tag)
        elif step == "multiple":
            tally.settle(tag, multiple=True)
            if tag <= tally.issued:
                open_tags = {each for each in open_tags if tag and each > tag}
        else:
            tally.settle_all()
            open_tags.clear()
        assert tally.open == len(open_tags)


def test_one_tag_that_stays_open_costs_no_memory() -> None:
    tally = Tally()
    tally.issued = 100_000
    for tag in range(2, 100_001):
        tally.settle(tag)
    assert tally.open == 1
    assert len(tally._ends) == 1
    tally.settle(1)
    assert tally.open == 0
    assert not tally._ends
