"""`RoundRobin`: whose turn it is, also while nodes come and go."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.plugins.nodes import GROUPS, names, node, nodes, selector
from trabbits.interfaces import NodeView
from trabbits.plugins.round_robin import NODES_MAX, RoundRobin


def firsts(robin: RoundRobin, group: str, times: int) -> str:
    return "".join(names(robin.order(nodes(group)))[0] for _ in range(times))


def test_every_node_has_its_turn() -> None:
    robin = selector("round_robin")
    assert [names(robin.order(nodes("abc"))) for _ in range(4)] == ["abc", "bca", "cab", "abc"]


def test_each_upstream_has_turns_of_its_own() -> None:
    one, other = selector("round_robin"), selector("round_robin")
    one.order(nodes("ab"))
    assert names(other.order(nodes("ab"))) == "ab"


def test_links_do_not_matter() -> None:
    robin = selector("round_robin")
    group = [node("a", 9), node("b")]
    assert [names(robin.order(group)) for _ in range(3)] == ["ab", "ba", "ab"]


def test_the_order_in_which_nodes_come_does_not_matter_once_all_had_a_turn() -> None:
    robin = RoundRobin()
    assert firsts(robin, "abc", 3) == "abc"
    assert firsts(robin, "cba", 3) == "abc"
    assert firsts(robin, "bca", 3) == "abc"


def test_those_that_are_left_share_the_turns_of_one_that_is_away() -> None:
    """Not its neighbour alone."""
    robin = RoundRobin()
    firsts(robin, "abcd", 8)
    assert Counter(firsts(robin, "acd", 300)) == {"a": 100, "c": 100, "d": 100}


def test_one_that_comes_back_has_one_turn_and_no_more() -> None:
    """It does not get what it has missed."""
    robin = RoundRobin()
    firsts(robin, "abc", 3)
    firsts(robin, "bc", 100)
    assert firsts(robin, "abc", 6) == "abcabc"


@given(group=GROUPS, rounds=st.integers(1, 4), seed=st.randoms(use_true_random=False))
def test_after_each_round_all_had_as_many_turns(group: list[NodeView], rounds: int, seed: object) -> None:
    robin = RoundRobin()
    turns: Counter[str] = Counter()
    for _ in range(rounds * len(group)):
        seed.shuffle(group)  # type: ignore[attr-defined]
        ordered = robin.order(tuple(group))
        assert sorted(map(id, ordered)) == sorted(map(id, group))
        turns[ordered[0].address] += 1
    assert turns == {each.address: rounds for each in group}


@given(subsets=st.lists(st.sets(st.sampled_from("abcd"), min_size=1), max_size=40))
def test_whoever_is_there_goes_before_those_that_had_a_turn_later(subsets: list[set[str]]) -> None:
    robin = RoundRobin()
    last = dict.fromkeys("abcd", -1)
    for number, subset in enumerate(subsets):
        order = names(robin.order(nodes("".join(sorted(subset)))))
        assert [last[name] for name in order] == sorted(last[name] for name in subset)
        last[order[0]] = number


def test_what_it_remembers_is_bounded() -> None:
    robin = RoundRobin()
    for number in range(NODES_MAX + 50):
        robin.order([node(f"node-{number}")])
    assert len(robin._turns) == NODES_MAX
    assert "node-49:5672" not in robin._turns
    assert f"node-{NODES_MAX + 49}:5672" in robin._turns
