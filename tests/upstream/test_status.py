"""What is concluded about nodes, what is logged of it, and what outlives a reload."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from trabbits.log_ids import LogId
from trabbits.plugins.least_connections import LeastConnections
from trabbits.upstream.node import Node
from trabbits.upstream.selection import Preference
from trabbits.upstream.status import NodeStatus, NodeTable

A, B = Node("a"), Node("b")


class Notes:
    """Takes log entries."""

    def __init__(self) -> None:
        self.entries: list[tuple[LogId, dict[str, Any]]] = []

    def __call__(self, entry: LogId, **fields: Any) -> None:
        assert entry.format.format(**fields)
        self.entries.append((entry, fields))

    def taken(self) -> list[LogId]:
        entries, self.entries = self.entries, []
        return [entry for entry, _ in entries]


def status_of(clock: Clock, notes: Notes | None = None, node: Node = A) -> NodeStatus:
    return NodeStatus("primary", node, clock, notes if notes is not None else Notes())


def test_failures_in_a_row_isolate_and_one_success_recovers() -> None:
    clock, notes = Clock(), Notes()
    status = status_of(clock, notes)
    for _ in range(2):
        status.check_failed("no", 3)
    status.check_succeeded()
    for _ in range(2):
        status.check_failed("no", 3)
        assert status.healthy
    clock.advance(10)
    notes.taken()
    status.check_failed("still no", 3)
    assert not status.healthy
    assert not status.usable
    assert notes.taken() == [LogId.NODE_CHECK_FAILED, LogId.NODE_ISOLATED]
    assert (status.failures, status.last_error, status.last_change, status.last_check) == (3, "still no", 10, 10)
    status.check_failed("no", 3)
    assert notes.taken() == [LogId.NODE_CHECK_FAILED]
    clock.advance(5)
    status.check_succeeded()
    ((entry, fields),) = notes.entries
    assert (entry, fields["seconds"]) == (LogId.NODE_RECOVERED, 5)
    assert status.usable
    assert (status.checks, status.failed_checks, status.isolations, status.recoveries) == (8, 6, 1, 1)


def test_a_suspicion_is_logged_once_and_passes() -> None:
    clock, notes = Clock(), Notes()
    status = status_of(clock, notes)
    status.attempt_failed("no", 10)
    clock.advance(5)
    status.attempt_failed("no", 10)
    assert notes.taken() == [LogId.NODE_SUSPECT]
    clock.advance(9.9)
    assert status.suspect
    assert not status.usable
    clock.advance(0.2)
    assert status.usable
    status.worked()
    status.worked()
    assert notes.taken() == [LogId.NODE_TRUSTED]
    status.attempt_failed("no", 10)
    assert notes.taken() == [LogId.NODE_SUSPECT]
    assert status.passive_signs == 3


def test_a_health_check_that_succeeds_ends_the_suspicion() -> None:
    notes = Notes()
    status = status_of(Clock(), notes)
    status.attempt_failed("no", 10)
    status.check_succeeded()
    assert status.usable
    assert notes.taken() == [LogId.NODE_SUSPECT, LogId.NODE_TRUSTED]


def test_a_health_check_that_fails_does_not_make_it_longer() -> None:
    clock = Clock()
    status = status_of(clock)
    status.attempt_failed("no", 10)
    status.check_failed("no", 3)
    clock.advance(11)
    assert status.usable


def test_one_attempt_renews_a_suspicion_that_is_over() -> None:
    clock = Clock()
    status = status_of(clock)
    status.attempt_failed("no", 10)
    clock.advance(11)
    assert status.usable
    status.attempt_begins(3)
    assert status.suspect
    clock.advance(4)
    assert status.usable, "the attempt was given up by the client"


def test_an_attempt_at_a_trusted_node_makes_no_suspicion() -> None:
    status = status_of(Clock())
    status.attempt_begins(3)
    assert status.usable
    assert (status.links, status.connection_attempts) == (1, 1)
    status.attempt_failed("x" * 10_000, 10)
    status.link_gone()
    assert (status.links, status.connection_errors, status.passive_signs) == (0, 1, 1)
    assert len(status.last_error) <= 500


def test_an_attempt_that_ended_for_whatever_reason_leaves_it_to_the_next() -> None:
    status = status_of(Clock())
    status.attempt_failed("no", 10)
    status.attempt_ended("who knows")
    assert status.usable
    assert (status.passive_signs, status.connection_errors, status.last_error) == (1, 2, "who knows")


def test_an_isolation_ends_with_the_checks() -> None:
    status = status_of(Clock())
    status.check_failed("no", 1)
    status.not_checked_any_more()
    assert status.usable
    assert status.failures == 0


def test_a_reload_keeps_what_is_known_and_drops_who_is_gone() -> None:
    table = NodeTable(Clock())
    table.keep([("one", A), ("one", B), ("two", A)])
    before = list(table)
    assert len({id(status) for status in before}) == 3
    before[0].links = 7
    table.keep([("three", A), ("one", B), ("one", A)])
    assert table.of("one") == (before[1], before[0])
    assert table.of("two") == ()
    assert len(table) == 3
    (new,) = table.of("three")
    assert (new.upstream, new.node, new.links) == ("three", A, 0)


def test_labels_are_those_of_the_present_configuration() -> None:
    table = NodeTable(Clock())
    east = {"datacenter": "east"}
    table.keep([("one", A), ("one", B), ("two", A)], {("one", A): east})
    first, second, other = table
    assert (first.labels, second.labels, other.labels) == ({"datacenter": "east"}, {}, {})
    east["datacenter"] = "changed behind its back"
    assert first.labels == {"datacenter": "east"}
    table.keep([("one", A), ("one", B)], {("one", B): {"datacenter": "west"}})
    assert (first.labels, second.labels) == ({}, {"datacenter": "west"})
    table.keep([("one", A), ("one", B)])
    assert (first.labels, second.labels) == ({}, {})


def test_nobody_can_change_labels_in_place() -> None:
    table = NodeTable(Clock())
    table.keep([("one", A), ("one", B)], {("one", A): {"datacenter": "east"}})
    for status in table:
        labels: Any = status.labels
        with pytest.raises(TypeError):
            labels["datacenter"] = "west"


def test_a_password_or_clock_is_not_in_the_representation() -> None:
    assert repr(status_of(Clock())).startswith("NodeStatus(upstream='primary', node=Node(host='a', port=5672), links=0")


NODES = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=8)


def in_order(statuses: list[NodeStatus], random: Random) -> list[NodeStatus]:
    """As an upstream has them without a selector of its own."""
    return list(Preference("primary", LeastConnections(), "least_connections", random, Notes()).order(statuses))


@given(nodes=NODES, seed=st.integers(0, 1000))
def test_the_order_is_by_health_then_by_links(nodes: list[tuple[bool, bool, int]], seed: int) -> None:
    clock = Clock()
    statuses = []
    for number, (healthy, suspect, links) in enumerate(nodes):
        status = status_of(clock, node=Node(f"node-{number}"))
        status.healthy, status.links = healthy, links
        status.suspect_until = 10.0 if suspect else None
        statuses.append(status)
    ordered = in_order(statuses, Random(seed))
    assert {id(status) for status in ordered} == {id(status) for status in statuses}
    keys = [(not status.healthy, status.suspect if status.healthy else False, status.links) for status in ordered]
    assert keys == sorted(keys)


def test_ties_are_shuffled() -> None:
    statuses = [status_of(Clock(), node=Node(name)) for name in "abc"]
    random = Random(1)
    firsts = [statuses.index(in_order(statuses, random)[0]) for _ in range(300)]
    assert all(70 < firsts.count(index) < 130 for index in range(3))
