"""`Upstream` over several nodes: which are tried, in which order, and what is remembered of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost

from tests.upstream.network import MOODS, TIMEOUT, Network, at
from tests.upstream.scripted import LOGIN, VIRTUAL_HOST, outcome
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.protocol import LinkProtocol

BEFORE_LOGIN = ["refuses", "unreachable", "silent", "hangs up", "is stopping"]
AT_OPEN = ["silent at open", "hangs up at open", "vhost is down", "out of resources", "is full"]
DENIES = ["denies the user", "denies the vhost"]


@pytest.mark.parametrize("mood", BEFORE_LOGIN + AT_OPEN)
def test_the_next_node_takes_over_from_one_that_fails(mood: str) -> None:
    network = Network(a=mood, b="works")
    upstream = network.upstream()
    at(upstream, "b").links = 1  # so that a is first
    link = network.open(upstream)
    assert isinstance(link, LinkProtocol)
    assert link.node == "b:5672"
    assert network.seconds() < TIMEOUT + 1
    assert network.logged() == ["NODE_SUSPECT a:5672", "LINK_RETRIED a:5672"]
    assert at(upstream, "a").suspect
    assert at(upstream, "a").links == 0
    assert at(upstream, "b").links == 2
    link.abort()
    network.assert_quiet()
    assert at(upstream, "b").links == 1


@pytest.mark.parametrize("mood", DENIES)
def test_what_is_said_about_the_client_is_final(mood: str) -> None:
    network = Network(a=mood, b="works")
    upstream = network.upstream()
    at(upstream, "b").links = 1
    error = network.open(upstream)
    assert isinstance(error, LinkRefused)
    assert not error.unavailable
    assert network.nodes["b"].dialed == 0
    assert network.logged() == []
    assert not at(upstream, "a").suspect
    assert at(upstream, "a").connection_errors == 0
    network.pass_time(3)
    network.assert_quiet()


def test_if_all_fail_the_error_names_every_node_with_its_reason() -> None:
    network = Network(a="refuses", b="silent", c="is stopping")
    upstream = network.upstream()
    error = network.open(upstream)
    assert isinstance(error, LinkUnreachable)
    assert error.text.startswith("upstream 'primary': ")
    for words in (
        "a:5672 refused the TCP connection",
        "b:5672 did not finish the AMQP handshake within 5s: no connection.start",
        "c:5672 refused the link: 320 CONNECTION_FORCED - node is stopping",
    ):
        assert words in error.text
    assert Counter(error.node.split(", ")) == Counter(["a:5672", "b:5672", "c:5672"])
    network.pass_time(3)
    network.assert_quiet()


def test_the_error_is_bounded() -> None:
    network = Network(**{f"node{number}.{'x' * 100}.example": "refuses" for number in range(100)})
    error = network.open(network.upstream())
    assert isinstance(error, LinkUnreachable)
    assert len(error.text) < 1600


def test_a_single_nodes_own_error_is_told() -> None:
    network = Network(a="is stopping")
    error = network.open(network.upstream())
    assert isinstance(error, LinkRefused)
    assert (error.code, error.text) == (320, "CONNECTION_FORCED - node is stopping")


def test_every_attempt_has_its_own_time() -> None:
    network = Network(a="silent", b="unreachable", c="works")
    upstream = network.upstream()
    at(upstream, "c").links = 1
    link = network.open(upstream)
    assert link.node == "c:5672"
    assert 2 * TIMEOUT <= network.seconds() < 2 * TIMEOUT + 1


def test_the_time_to_log_in_is_counted() -> None:
    """Of attempts that get there, each by itself: what was lost at other nodes before is not its fault."""
    network = Network(a="silent", b="works")
    upstream = network.upstream()
    at(upstream, "b").links = 1  # so that a is first
    link = network.open(upstream)
    assert isinstance(link, LinkProtocol)
    assert network.seconds() >= TIMEOUT
    assert at(upstream, "a").connect_times.number == 0
    assert at(upstream, "b").connect_times.number == 1
    assert at(upstream, "b").connect_times.total < 1
    link.abort()


def test_the_next_client_does_not_begin_with_the_node_that_failed_one() -> None:
    network = Network(a="silent", b="works")
    upstream = network.upstream()
    at(upstream, "b").links = 1
    network.open(upstream)
    began = network.seconds()
    for _ in range(3):
        assert network.open(upstream).node == "b:5672"
    assert network.seconds() == began
    assert network.nodes["a"].dialed == 1


def test_a_suspicion_is_forgotten_after_a_while_and_tried_out_by_one_client() -> None:
    network = Network(a="silent", b="works")
    upstream = network.upstream(suspicion=20.0)
    at(upstream, "b").links = 1
    network.open(upstream)
    network.pass_time(21, step=1)
    assert not at(upstream, "a").suspect
    network.logged()
    first = outcome(upstream.open_link(LOGIN))
    network.settle()
    others = [network.open(upstream) for _ in range(5)]
    assert {link.node for link in others} == {"b:5672"}
    assert first == []
    assert network.nodes["a"].dialed == 2
    network.pass_time(TIMEOUT + 0.1)
    assert first[0].node == "b:5672"
    # Whoever reads the log knows that it is suspect.
    assert network.logged() == ["LINK_RETRIED a:5672"]


def test_a_node_that_works_again_is_trusted_again() -> None:
    network = Network(a="refuses", b="refuses")
    upstream = network.upstream()
    network.open(upstream)
    assert Counter(line.partition(" ")[0] for line in network.logged()) == {"NODE_SUSPECT": 2, "LINK_RETRIED": 1}
    network.nodes["a"].mood = network.nodes["b"].mood = "works"
    link = network.open(upstream)
    assert network.logged() == [f"NODE_TRUSTED {link.node}"]
    other = network.open(upstream)
    assert other.node == link.node, "the other one is suspect still"
    assert network.logged() == []


def test_the_node_with_the_fewest_links_is_next() -> None:
    network = Network(a="works", b="works", c="works")
    upstream = network.upstream()
    links = [network.open(upstream) for _ in range(30)]
    assert Counter(link.node for link in links) == {"a:5672": 10, "b:5672": 10, "c:5672": 10}
    for link in links:
        if link.node == "b:5672":
            link.close_link(1)
    network.settle()
    assert at(upstream, "b").links == 0
    assert {network.open(upstream).node for _ in range(10)} == {"b:5672"}


def test_links_that_are_being_opened_count() -> None:
    """Many clients at once are spread, too."""
    network = Network(a="works", b="works", c="works")
    upstream = network.upstream()
    attempts = [outcome(upstream.open_link(LOGIN)) for _ in range(30)]
    assert [status.links for status in upstream.statuses] == [10, 10, 10]
    network.settle()
    assert Counter(fired[0].node for fired in attempts) == {"a:5672": 10, "b:5672": 10, "c:5672": 10}


def test_isolated_nodes_are_tried_when_no_other_works() -> None:
    network = Network(a="works", b="refuses")
    upstream = network.upstream()
    at(upstream, "a").check_failed("no", 1)
    assert not at(upstream, "a").healthy
    assert network.open(upstream).node == "a:5672"
    assert network.nodes["b"].dialed == 1
    assert not at(upstream, "a").healthy, "that is for the health check to say"


def test_a_lost_link_is_a_sign() -> None:
    network = Network(a="works", b="works")
    upstream = network.upstream()
    lost = network.open(upstream)
    host = lost.node.partition(":")[0]
    network.kill(host)
    assert network.logged() == [f"NODE_SUSPECT {lost.node}"]
    assert at(upstream, host).suspect
    assert at(upstream, host).links == 0
    assert at(upstream, host).connection_errors == 0
    assert at(upstream, host).passive_signs == 1


def test_a_node_that_hangs_up_on_what_the_client_said_is_not_blamed() -> None:
    """RabbitMQ does that when a start-ok is too large or malformed; the next node is tried all the same."""
    network = Network(a="hangs up at start-ok", b="works")
    upstream = network.upstream()
    at(upstream, "b").links = 1
    assert network.open(upstream).node == "b:5672"
    assert network.logged() == ["LINK_RETRIED a:5672"]
    assert not at(upstream, "a").suspect
    assert at(upstream, "a").connection_errors == 1


def test_one_that_is_silent_then_is() -> None:
    network = Network(a="silent at start-ok", b="works")
    upstream = network.upstream()
    at(upstream, "b").links = 1
    assert network.open(upstream).node == "b:5672"
    assert at(upstream, "a").suspect


@pytest.mark.parametrize("end", ["close", "abort", "closed by the node"])
def test_a_link_that_ends_in_an_orderly_way_is_no_sign(end: str) -> None:
    network = Network(a="works")
    upstream = network.upstream()
    link = network.open(upstream)
    if end == "close":
        link.close_link(1)
    elif end == "abort":
        link.abort()
    else:
        (connection,) = network.connections
        connection.link.dataReceived(bytes.fromhex("01 0000 0000000b 000a 0032 0140 00 0000 0000 ce"))
    network.settle()
    assert at(upstream, "a").links == 0
    assert not at(upstream, "a").suspect


# Between the two steps


def logged_in_at(network: Network, upstream: Any, name: str) -> LinkProtocol:
    for status in upstream.statuses:
        status.links += status.node.host != name
    link = network.result(upstream.open_link(LOGIN))
    for status in upstream.statuses:
        status.links -= status.node.host != name
    assert isinstance(link, LinkProtocol)
    assert link.node == f"{name}:5672"
    return link


def test_a_node_that_dies_while_the_client_is_waited_for_costs_no_client() -> None:
    network = Network(a="works", b="works")
    upstream = network.upstream()
    link = logged_in_at(network, upstream, "a")
    told: list[Any] = []
    upstream.when_broken(link, told.append)
    network.kill("a")
    assert told == []
    assert not at(upstream, "a").suspect, "brokers hang up on slow clients, too"
    replaced = network.result(upstream.open_virtual_host(link, VIRTUAL_HOST))
    assert replaced.node == "b:5672"
    assert network.logged() == ["LINK_RETRIED a:5672"]
    assert replaced.login is link.login
    assert network.nodes["a"].dialed == 1


def test_of_a_single_node_it_is_told_at_once() -> None:
    network = Network(a="works")
    upstream = network.upstream()
    link = logged_in_at(network, upstream, "a")
    told: list[Any] = []
    upstream.when_broken(link, told.append)
    network.kill("a")
    (error,) = told
    assert isinstance(error, LinkUnreachable)


def test_a_refusal_of_the_waiting_client_is_told_at_once() -> None:
    network = Network(a="works", b="works")
    upstream = network.upstream()
    link = logged_in_at(network, upstream, "a")
    told: list[Any] = []
    upstream.when_broken(link, told.append)
    (connection,) = network.connections
    connection.link.dataReceived(MOODS["denies the user"]["Connection.StartOk"])
    (error,) = told
    assert (error.code, error.unavailable) == (403, False)
    refused = network.result(upstream.open_virtual_host(link, VIRTUAL_HOST))
    assert refused.code == 403
    network.settle()


def test_if_the_others_fail_too_both_reasons_are_told() -> None:
    network = Network(a="works", b="refuses")
    upstream = network.upstream()
    link = logged_in_at(network, upstream, "a")
    network.nodes["a"].mood = "vhost is down"
    error = network.result(upstream.open_virtual_host(link, VIRTUAL_HOST))
    assert isinstance(error, LinkUnreachable)
    assert "a:5672 refused the link: 541 INTERNAL_ERROR - vhost '/' is down" in error.text
    assert "b:5672 refused the TCP connection" in error.text


# Not required


def test_an_optional_upstream_without_a_usable_node_fails_at_once() -> None:
    network = Network(a="unreachable", b="silent")
    upstream = network.upstream(required=False, suspicion=60.0)
    error = network.open(upstream)
    assert network.seconds() >= 2 * TIMEOUT, "the first client finds out"
    assert isinstance(error, LinkUnreachable)
    dialed = network.nodes["a"].dialed, network.nodes["b"].dialed
    fired = outcome(upstream.open_link(LOGIN))
    assert isinstance(fired[0], LinkUnreachable)
    assert fired[0].node == ""
    assert "a:5672 could not be reached by TCP within 5s (suspect, not tried)" in fired[0].text
    assert (network.nodes["a"].dialed, network.nodes["b"].dialed) == dialed
    network.nodes["a"].mood = "works"
    network.pass_time(60, step=1)
    assert network.open(upstream).node == "a:5672"


def test_an_optional_upstream_tries_only_nodes_that_nothing_speaks_against() -> None:
    network = Network(a="refuses", b="silent")
    upstream = network.upstream(required=False)
    at(upstream, "b").attempt_failed("no answer", 60)
    network.logged()
    error = network.open(upstream)
    assert network.seconds() < 1
    assert network.nodes["b"].dialed == 0
    assert "a:5672 refused the TCP connection" in error.text
    assert "b:5672: no answer (suspect, not tried)" in error.text
    assert network.logged() == ["NODE_SUSPECT a:5672"]


def test_a_lost_link_keeps_nobody_from_an_optional_upstream() -> None:
    """One client that makes its broker hang up must not detach the upstream from all others."""
    network = Network(a="works")
    upstream = network.upstream(required=False)
    network.open(upstream)
    network.connections[0].lose(ConnectionLost())
    assert at(upstream, "a").suspect
    assert network.open(upstream).node == "a:5672"
    assert not at(upstream, "a").suspect


def test_nor_does_one_that_was_lost_after_an_attempt_failed_long_ago() -> None:
    network = Network(a="works")
    upstream = network.upstream(required=False, suspicion=20.0)
    link = network.open(upstream)
    at(upstream, "a").attempt_failed("no answer", 20)
    assert isinstance(network.open(upstream), LinkUnreachable)
    network.pass_time(21, step=1)
    network.connections[0].lose(ConnectionLost())
    assert network.open(upstream).node == link.node


def test_an_isolated_node_of_an_optional_upstream_is_not_tried() -> None:
    network = Network(a="works")
    upstream = network.upstream(required=False)
    at(upstream, "a").check_failed("upstream 'primary' (a:5672) refused the TCP connection", 1)
    error = network.open(upstream)
    assert error.text == "upstream 'primary': a:5672 refused the TCP connection (isolated, not tried)"
    assert network.nodes["a"].dialed == 0
    at(upstream, "a").check_succeeded()
    assert network.open(upstream).node == "a:5672"


# Cancelling


@given(
    moods=st.lists(st.sampled_from(sorted(MOODS)), min_size=1, max_size=4),
    at_time=st.floats(0, 12),
    waits=st.booleans(),
)
def test_whenever_it_is_cancelled_nothing_stays(moods: list[str], at_time: float, waits: bool) -> None:
    network = Network(**{f"n{number}": mood for number, mood in enumerate(moods)})
    upstream = network.upstream()
    attempt = upstream.open_link(LOGIN)
    if not waits:
        attempt.addCallback(lambda link: upstream.open_virtual_host(link, VIRTUAL_HOST))
    fired = outcome(attempt)
    network.pass_time(at_time, step=0.5)
    attempt.cancel()
    assert len(fired) == 1
    if isinstance(fired[0], LinkProtocol):
        fired[0].abort()
    network.settle()
    # A refused link gets a moment to say goodbye.
    network.pass_time(3, step=0.5)
    network.assert_quiet()
    assert [status.links for status in upstream.statuses] == [0] * len(moods)


@given(moods=st.lists(st.sampled_from(sorted(MOODS)), min_size=1, max_size=4), clients=st.integers(1, 6))
def test_any_cluster_with_a_node_that_works_serves_every_client(moods: list[str], clients: int) -> None:
    """Unless a node denies the client."""
    network = Network(**{f"n{number}": mood for number, mood in enumerate(moods)})
    upstream = network.upstream()
    for _ in range(clients):
        result = network.open(upstream)
        if isinstance(result, LinkRefused):
            assert not result.unavailable or len(moods) == 1
        if not set(moods).isdisjoint({"works", "never closes"}) and set(moods).isdisjoint(DENIES):
            assert isinstance(result, LinkProtocol)
    served = sum(status.links for status in upstream.statuses)
    network.pass_time(3, step=1)
    assert served >= len(network.connections)
    assert sum(status.links for status in upstream.statuses) == len(network.connections)
