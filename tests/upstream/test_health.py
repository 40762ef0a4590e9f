"""Health checks on a clock: when nodes are checked, what isolates them, and that nothing stays after the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from tests.upstream.network import MOODS, Network
from tests.upstream.scripted import outcome
from trabbits.upstream.health import HealthPolicy, HealthWatch
from trabbits.upstream.node import Node
from trabbits.upstream.status import NodeStatus, NodeTable

POLICY = HealthPolicy("watcher", "s3cret", "/", 10.0, 2.0, 3, 25.0)
FAILING = sorted(set(MOODS) - {"works", "never closes"})


class Stage:
    """A watch over the nodes of a network, all in the upstream "primary"."""

    def __init__(self, policy: HealthPolicy = POLICY, **moods: str) -> None:
        self.network = Network(**moods)
        self.table = NodeTable(self.network, self.network.note)
        self.watch = HealthWatch(self.table, self.network)
        self.keep(*moods)
        self.apply({"primary": policy})

    def keep(self, *names: str) -> None:
        self.table.keep(("primary", Node(name)) for name in names)

    def apply(self, policies: Mapping[str, HealthPolicy]) -> None:
        self.watch.apply(policies)
        self.network.settle()

    def status(self, name: str) -> NodeStatus:
        return next(status for status in self.table if status.node.host == name)

    def pass_time(self, seconds: float) -> None:
        self.network.pass_time(seconds, step=0.25)

    def dialed(self) -> list[int]:
        return [node.dialed for node in self.network.nodes.values()]

    def stop(self) -> None:
        stopped = outcome(self.watch.stop())
        self.network.settle()
        assert stopped == [None]
        self.network.assert_quiet()


def test_a_check_is_a_whole_handshake_and_a_clean_close() -> None:
    stage = Stage(a="works")
    (connection,) = stage.network.nodes["a"].connections
    said = {type(method): method for method in connection.said}
    assert [method.name for method in connection.said] == [
        "ProtocolHeader",
        "Connection.StartOk",
        "Connection.TuneOk",
        "Connection.Open",
        "Connection.Close",
    ]
    start_ok = said[commands.Connection.StartOk]
    assert start_ok.response == "\0watcher\0s3cret"
    assert start_ok.client_properties["product"] == "trabbits"
    assert "health check" in start_ok.client_properties["connection_name"]
    assert said[commands.Connection.Open].virtual_host == "/"
    assert connection.lost
    assert (stage.status("a").checks, stage.status("a").links) == (1, 0)
    stage.stop()


def test_every_node_is_checked_at_once_and_at_every_interval() -> None:
    stage = Stage(a="works", b="works")
    assert stage.dialed() == [1, 1]
    stage.pass_time(9.5)
    assert stage.dialed() == [1, 1]
    stage.pass_time(1)
    assert stage.dialed() == [2, 2]
    stage.pass_time(100)
    assert stage.dialed() == [12, 12]
    assert stage.network.logged() == []
    stage.stop()


@pytest.mark.parametrize("mood", FAILING)
def test_failures_in_a_row_isolate_a_node_until_a_check_succeeds(mood: str) -> None:
    stage = Stage(a=mood, b="works")
    stage.pass_time(19)
    assert stage.status("a").healthy
    stage.pass_time(4)
    status = stage.status("a")
    assert not status.healthy
    assert (status.checks, status.failed_checks, status.isolations) == (3, 3, 1)
    assert stage.network.logged() == ["NODE_CHECK_FAILED a:5672"] * 3 + ["NODE_ISOLATED a:5672"]
    # From now on at the recovery interval, counted from the last check at 20 s.
    stage.pass_time(21)
    assert stage.network.nodes["a"].dialed == 3
    stage.network.nodes["a"].mood = "works"
    stage.pass_time(2)
    assert status.healthy
    assert status.recoveries == 1
    assert stage.network.logged() == ["NODE_RECOVERED a:5672"]
    dialed = stage.network.nodes["a"].dialed
    stage.pass_time(10)
    assert stage.network.nodes["a"].dialed == dialed + 1
    stage.stop()


@pytest.mark.parametrize("mood", ["unreachable", "silent", "silent at open"])
def test_a_check_is_bounded_as_a_whole(mood: str) -> None:
    stage = Stage(a=mood)
    stage.pass_time(1.75)
    assert stage.status("a").checks == 0
    stage.pass_time(0.5)
    assert stage.status("a").failures == 1
    assert "within 2s" in stage.status("a").last_error
    stage.stop()


def test_a_node_that_does_not_close_is_left_in_time() -> None:
    stage = Stage(a="never closes")
    assert len(stage.network.connections) == 1
    stage.pass_time(2.25)
    assert stage.network.connections == []
    assert stage.status("a").healthy
    assert stage.status("a").failures == 0
    stage.stop()


def test_never_two_checks_of_one_node_at_a_time() -> None:
    stage = Stage(evolve(POLICY, interval=0.5, unhealthy_threshold=100), a="silent")
    for _ in range(40):
        stage.pass_time(0.25)
        assert len(stage.network.connections) <= 1
    assert stage.status("a").checks >= 4
    stage.stop()


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ("denies the user", "wrong user or password in the health check, user 'watcher'"),
        ("denies the vhost", "the health check's user 'watcher' may not open its virtual host"),
    ],
)
def test_what_is_configured_wrongly_is_said(mood: str, words: str) -> None:
    stage = Stage(a=mood)
    assert words in stage.status("a").last_error
    assert "s3cret" not in repr(stage.network.log) + repr(POLICY)
    stage.pass_time(3)
    stage.stop()


def test_a_check_that_succeeds_ends_a_suspicion() -> None:
    stage = Stage(a="works")
    stage.status("a").attempt_failed("no", 60)
    stage.pass_time(10.5)
    assert not stage.status("a").suspect
    stage.stop()


# Reloads


def test_a_reload_leaves_the_checks_of_unchanged_upstreams_alone() -> None:
    stage = Stage(a="refuses", b="works")
    stage.pass_time(25)
    assert not stage.status("a").healthy
    known = stage.status("a")
    dialed = stage.dialed()
    stage.keep("b", "a")
    stage.apply({"primary": evolve(POLICY)})
    assert stage.dialed() == dialed
    assert stage.status("a") is known
    assert not known.healthy
    stage.pass_time(21)
    assert stage.dialed() == [4, 5], "in the old rhythm: a's next check is at 45 s, b's were at 30 s and 40 s"
    stage.stop()


def test_a_changed_policy_is_followed_at_once() -> None:
    stage = Stage(a="refuses", b="silent")
    stage.pass_time(1)
    assert stage.dialed() == [1, 1]
    stage.apply({"primary": evolve(POLICY, interval=3.0, unhealthy_threshold=2)})
    assert stage.dialed() == [2, 1], "b's check is still under way"
    stage.pass_time(2.5)
    assert stage.dialed() == [2, 2]
    assert not stage.status("a").healthy
    stage.stop()


def test_nodes_that_are_gone_are_not_checked_any_more() -> None:
    stage = Stage(a="silent", b="works")
    stage.keep("b")
    stage.apply({"primary": POLICY})
    stage.pass_time(20.5)
    assert stage.dialed() == [1, 3]
    stage.stop()


def test_switching_checks_off_ends_isolations() -> None:
    stage = Stage(a="refuses")
    stage.pass_time(25)
    assert not stage.status("a").healthy
    stage.apply({})
    assert stage.status("a").healthy
    stage.network.assert_quiet()
    stage.pass_time(100)
    assert stage.dialed() == [3]
    stage.apply({"primary": POLICY})
    assert stage.dialed() == [4]
    stage.stop()


@given(
    moods=st.lists(st.sampled_from(sorted(MOODS)), min_size=1, max_size=3),
    steps=st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["apply", "none", "change", "fewer"])), max_size=4),
    last=st.floats(0, 30),
)
def test_whenever_it_stops_no_timer_and_no_connection_stays(
    moods: list[str], steps: list[tuple[float, Any]], last: float
) -> None:
    names = {f"n{number}": mood for number, mood in enumerate(moods)}
    stage = Stage(POLICY, **names)
    for seconds, step in steps:
        stage.network.pass_time(seconds, step=1)
        stage.keep(*list(names)[: 1 if step == "fewer" else None])
        policies = {} if step == "none" else {"primary": evolve(POLICY, interval=4.0) if step == "change" else POLICY}
        stage.apply(policies)
        assert len(stage.network.connections) <= len(moods)
    stage.network.pass_time(last, step=1)
    stage.stop()
