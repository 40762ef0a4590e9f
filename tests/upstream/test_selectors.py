"""`Upstream` with a selector: what it is asked and when, what its answer changes, and what happens when it fails.

Covered with it: each built-in selector over scripted nodes.  Not covered: their orders in detail (``tests/plugins``).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.plugins.nodes import selector as built_in
from tests.upstream.network import Network, at
from tests.upstream.scripted import LOGIN, VIRTUAL_HOST
from trabbits.interfaces import INodeSelector, NodeView
from trabbits.log_ids import LogId
from trabbits.upstream.protocol import LinkProtocol


@implementer(INodeSelector)
class Selector:
    """Answers with what `answer` makes of the nodes; by default the letters from the end of the alphabet on."""

    def __init__(self, answer: Callable[[Sequence[NodeView]], Any] | None = None) -> None:
        self.answer = answer if answer is not None else backwards
        #: The hosts that it was asked for, sorted.
        self.asked: list[str] = []
        self.nodes: list[NodeView] = []

    def order(self, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        self.asked.append("".join(sorted(node.address[0] for node in nodes)))
        self.nodes += nodes
        answer: Sequence[NodeView] = self.answer(nodes)
        return answer


def backwards(nodes: Sequence[NodeView]) -> list[NodeView]:
    return sorted(nodes, key=lambda node: node.address, reverse=True)


def dialed(network: Network) -> str:
    """The hosts that were asked for since the last time, in order."""
    names, network.asked[:] = "".join(network.asked), []
    return names


def test_the_first_node_of_the_answer_gets_the_link() -> None:
    network = Network(a="works", b="works", c="works")
    selector = Selector()
    upstream = network.upstream(selector=selector)
    at(upstream, "c").links = 5
    assert network.open(upstream).node == "c:5672"
    assert selector.asked == ["abc"], "once for both steps"


def test_it_sees_what_is_known_of_the_nodes() -> None:
    network = Network(a="works", b="works")
    selector = Selector()
    labels = {"a:5672": {"datacenter": "east", "rack": "7"}}
    upstream = network.upstream(selector=selector, labels=labels)
    at(upstream, "b").links = 3
    network.open(upstream)
    assert sorted(selector.nodes, key=lambda node: node.address) == [
        NodeView("a:5672", {"datacenter": "east", "rack": "7"}, links=0, healthy=True, suspect=False),
        NodeView("b:5672", {}, links=3, healthy=True, suspect=False),
    ]


def test_it_is_asked_anew_when_a_node_fails_and_only_for_those_left() -> None:
    network = Network(a="works", b="refuses", c="silent")
    selector = Selector()
    assert network.open(network.upstream(selector=selector)).node == "a:5672"
    assert dialed(network) == "cba"
    assert selector.asked == ["abc", "ab", "a"]


def test_it_orders_within_what_speaks_against_nodes_and_not_across() -> None:
    network = Network(a="refuses", b="refuses", c="refuses", d="refuses", e="refuses", f="refuses")
    selector = Selector()
    upstream = network.upstream(selector=selector)
    for name in "ef":
        at(upstream, name).check_failed("no", 1)
    for name in "cd":
        at(upstream, name).attempt_failed("no", 60)
    network.open(upstream)
    assert dialed(network) == "badcfe"
    assert selector.asked == ["ab", "a", "cd", "c", "ef", "e"]
    assert [(node.address[0], node.healthy, node.suspect) for node in selector.nodes[-1:]] == [("e", False, False)]


def test_without_a_choice_it_is_asked_as_well() -> None:
    network = Network(a="works")
    selector = Selector()
    network.open(network.upstream(selector=selector))
    assert selector.asked == ["a"]


def test_it_is_not_asked_when_the_link_stays_where_it_is_logged_in() -> None:
    network = Network(a="works", b="works")
    selector = Selector()
    upstream = network.upstream(selector=selector)
    link = network.result(upstream.open_link(LOGIN))
    selector.asked.clear()
    network.result(upstream.open_virtual_host(link, VIRTUAL_HOST))
    assert selector.asked == []


def test_nodes_of_an_optional_upstream_that_are_not_tried_are_not_shown_to_it() -> None:
    network = Network(a="works", b="works", c="works")
    selector = Selector()
    upstream = network.upstream(selector=selector, required=False)
    at(upstream, "c").attempt_failed("no", 60)
    at(upstream, "b").check_failed("no", 1)
    assert network.open(upstream).node == "a:5672"
    assert selector.asked == ["a"]


@pytest.mark.parametrize("keeps", [0, 1, 2])
def test_what_it_leaves_out_is_tried_last(keeps: int) -> None:
    network = Network(a="refuses", b="refuses", c="refuses")
    upstream = network.upstream(selector=Selector(lambda nodes: backwards(nodes)[:keeps]))
    network.open(upstream)
    order = dialed(network)
    assert sorted(order) == ["a", "b", "c"]
    assert keeps == 0 or order == "cba"
    assert "SELECTOR_FAILED None" not in network.logged()


def test_nodes_come_in_a_random_order() -> None:
    network = Network(a="works", b="works", c="works")
    upstream = network.upstream(selector=Selector(lambda nodes: nodes))
    firsts = Counter(network.open(upstream).node for _ in range(300))
    assert all(70 < times < 130 for times in firsts.values())
    assert len(firsts) == 3


# One that fails


def raises(nodes: Sequence[NodeView]) -> Any:
    raise LookupError("no such rack")


def exits(nodes: Sequence[NodeView]) -> Any:
    sys.exit("no such rack")


class Breaks(Sequence[NodeView]):
    """A sequence that cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        raise RuntimeError("no")


STRANGER = NodeView("x:5672", {}, 0, healthy=True, suspect=False)
NONSENSE: list[tuple[str, Callable[[Sequence[NodeView]], Any], str]] = [
    ("raises", raises, "LookupError: no such rack"),
    ("exits", exits, "SystemExit: no such rack"),
    ("None", lambda nodes: None, "TypeError: order() returned NoneType, which is no sequence of nodes"),
    ("a Deferred", lambda nodes: Deferred(), "TypeError: order() returned Deferred, which is no sequence of nodes"),
    ("an iterator", iter, "TypeError: order() returned tuple_iterator, which is no sequence of nodes"),
    ("one node", lambda nodes: nodes[0], "TypeError: order() returned NodeView, which is no sequence of nodes"),
    ("text", lambda nodes: "a", "TypeError: order() returned a sequence with str in it, which is no node"),
    (
        "addresses",
        lambda nodes: [node.address for node in nodes],
        "TypeError: order() returned a sequence with str in it, which is no node",
    ),
    (
        "a stranger",
        lambda nodes: [STRANGER],
        "ValueError: order() returned x:5672, which it was not given or had returned already",
    ),
    (
        "one twice",
        lambda nodes: [max(nodes, key=lambda node: node.address)] * 2,
        "ValueError: order() returned b:5672, which it was not given or had returned already",
    ),
    ("too many", lambda nodes: [*nodes, STRANGER], "ValueError: order() returned 3 nodes for 2"),
    ("a broken sequence", lambda nodes: Breaks(), "RuntimeError: no"),
]


@pytest.mark.parametrize(("answer", "text"), [pytest.param(each[1], each[2], id=each[0]) for each in NONSENSE])
def test_for_one_that_fails_the_default_stands_in_and_the_log_names_it(
    answer: Callable[[Sequence[NodeView]], Any], text: str
) -> None:
    network = Network(a="works", b="works")
    upstream = network.upstream(selector=Selector(answer), selector_name="by_rack")
    at(upstream, "b").links = 4
    assert network.open(upstream).node == "a:5672"
    assert network.log == [(LogId.SELECTOR_FAILED, {"upstream": "primary", "plugin": "by_rack", "text": text})]


def test_without_a_name_the_log_has_its_class() -> None:
    network = Network(a="works")
    network.open(network.upstream(selector=Selector(raises)))
    ((_, fields),) = network.log
    assert fields["plugin"] == "Selector"


def test_what_the_log_says_of_it_is_bounded() -> None:
    def talks(nodes: Sequence[NodeView]) -> Any:
        raise ValueError("x" * 10_000)

    network = Network(a="works")
    network.open(network.upstream(selector=Selector(talks)))
    ((_, fields),) = network.log
    assert len(fields["text"]) <= 200


def test_one_that_works_again_is_heard_again() -> None:
    network = Network(a="works", b="works")
    selector = Selector(raises)
    upstream = network.upstream(selector=selector)
    at(upstream, "b").links = 4
    assert network.open(upstream).node == "a:5672"
    selector.answer = backwards
    assert network.open(upstream).node == "b:5672"
    assert network.logged() == ["SELECTOR_FAILED None"]


def test_one_that_fails_does_not_keep_a_client_from_the_node_that_works() -> None:
    network = Network(a="refuses", b="hangs up", c="works")
    upstream = network.upstream(selector=Selector(raises))
    at(upstream, "c").links = 9
    assert network.open(upstream).node == "c:5672"
    assert network.logged().count("SELECTOR_FAILED None") == 3


# The built-in ones


LABELS = {"a:5672": {"datacenter": "west"}, "b:5672": {"datacenter": "east"}, "c:5672": {"datacenter": "north"}}
BUILT_IN: dict[str, dict[str, Any]] = {
    "least_connections": {},
    "round_robin": {},
    "random": {},
    "datacenter_affinity": {"datacenter": "east", "order": ["north", "west"]},
    "ordered": {"nodes": ["c:5672", "a:5672", "b:5672"]},
}


def opened(network: Network, upstream: Any, times: int) -> str:
    return "".join(network.open(upstream).node[0] for _ in range(times))


def test_without_a_selector_links_are_spread_by_their_number() -> None:
    network = Network(a="works", b="works", c="works")
    assert Counter(opened(network, network.upstream(), 9)) == {"a": 3, "b": 3, "c": 3}


def test_round_robin_gives_each_node_its_turn() -> None:
    network = Network(a="works", b="works", c="works")
    upstream = network.upstream(selector=built_in("round_robin"))
    order = opened(network, upstream, 9)
    assert len(set(order[:3])) == 3
    assert order == order[:3] * 3


def test_round_robin_shares_the_turns_of_a_node_that_fails() -> None:
    network = Network(a="works", b="refuses", c="works", d="works")
    upstream = network.upstream(selector=built_in("round_robin"))
    assert Counter(opened(network, upstream, 30)) == {"a": 10, "c": 10, "d": 10}
    assert network.nodes["b"].dialed == 1


def test_datacenter_affinity_goes_away_only_when_it_must() -> None:
    network = Network(a="works", b="works", c="works")
    selector = built_in("datacenter_affinity", **BUILT_IN["datacenter_affinity"])
    upstream = network.upstream(selector=selector, labels=LABELS)
    assert opened(network, upstream, 3) == "bbb"
    network.kill("b")
    assert opened(network, upstream, 3) == "ccc"
    network.kill("c")
    assert opened(network, upstream, 3) == "aaa"
    network.nodes["b"].mood = "works"
    at(upstream, "b").check_succeeded()
    assert opened(network, upstream, 2) == "bb"


def test_ordered_takes_the_first_that_works() -> None:
    network = Network(a="works", b="works", c="works")
    upstream = network.upstream(selector=built_in("ordered", **BUILT_IN["ordered"]))
    assert opened(network, upstream, 3) == "ccc"
    network.kill("c")
    assert opened(network, upstream, 3) == "aaa"


@given(
    plugin=st.sampled_from(sorted(BUILT_IN)),
    moods=st.lists(st.sampled_from(["works", "refuses", "hangs up", "is stopping"]), min_size=1, max_size=4),
)
def test_with_any_of_them_a_node_that_works_serves_every_client(plugin: str, moods: list[str]) -> None:
    network = Network(**dict(zip("abcd", moods, strict=False)))
    upstream = network.upstream(selector=built_in(plugin, **BUILT_IN[plugin]), labels=LABELS)
    for _ in range(3):
        result = network.open(upstream)
        assert isinstance(result, LinkProtocol) == ("works" in moods)
    assert "SELECTOR_FAILED None" not in network.logged()
    for status in upstream.statuses:
        assert status.connection_attempts <= 3
    network.pass_time(3, step=1)
