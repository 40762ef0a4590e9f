"""Brokers in threads and trabbits as a process, as context managers.

Not covered: what the examples of the documentation show (``test_pages.py``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from trabbits.testing.broker import Drop, Permissions, User
from trabbits.testing.client import ClosedByPeer, RecordingClient
from trabbits.testing.processes import StartError
from trabbits.testing.running import RunningBroker, running_broker, running_trabbits, with_upstreams


def test_a_broker_ends_with_its_block_and_leaves_nothing() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    with running_broker():
        pass  # what is loaded once is there
    before = open_files(), threading.active_count()
    for _ in range(3):
        with running_broker() as broker:
            client = RecordingClient.connect(broker.port)
        client.wait_for(lambda record: record.ended)
        client.drop()
        with pytest.raises(ConnectionRefusedError):
            RecordingClient.connect(broker.port)
    assert (open_files(), threading.active_count()) == before


def test_options_are_the_brokers() -> None:
    users = {"ann": User("secret", {"/one": Permissions(read="")})}
    with running_broker("small", users=users, vhosts=("/one",)) as broker:
        assert broker.url("/one", "ann", "se/cret") == f"amqp://ann:se%2Fcret@127.0.0.1:{broker.port}/%2Fone"
        with RecordingClient.connect(broker.port, "/one", user="ann", password="secret") as client:
            client.declare("q")
            with pytest.raises(ClosedByPeer, match="403"):
                client.consume("q")


def test_a_broker_that_does_not_run_says_so_at_once() -> None:
    with running_broker("old") as broker:
        pass
    with pytest.raises(RuntimeError, match="the broker 'old' does not run"):
        broker.depth("q")


def test_a_call_that_is_not_answered_in_time_says_which(embedded_broker: RunningBroker) -> None:
    go_on = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer of the broker 'embedded' within 0\.01 s"):
        embedded_broker.call(lambda _: go_on.wait(10), timeout=0.01)
    go_on.set()

    def late(_: object) -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        embedded_broker.call(late)


def test_a_test_may_look_inside_and_wait(embedded_broker: RunningBroker) -> None:
    with RecordingClient.connect(embedded_broker.port) as client:
        client.declare("q")
        client.publish("", "q")
        assert embedded_broker.wait_for(lambda broker: len(broker.vhost().queues["q"].ready)) == 1
        with pytest.raises(TimeoutError, match=r"not within 0\.1 s at the broker 'embedded'"):
            embedded_broker.wait_for(lambda broker: len(broker.vhost().queues["q"].ready) > 1, timeout=0.1)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda broker: broker.vhost("/nowhere"), KeyError),
        (lambda _: succeed(None).addCallback(lambda _: 1 // 0), ZeroDivisionError),
        (lambda _: Deferred(), TimeoutError),
    ],
)
def test_what_goes_wrong_inside_is_raised_outside(
    embedded_broker: RunningBroker, function: Callable[[Any], Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        embedded_broker.call(function, timeout=0.2)
    assert embedded_broker.call(lambda broker: broker.name) == "embedded"


def test_what_is_changed_inside_reaches_clients_at_once(embedded_broker: RunningBroker) -> None:
    with RecordingClient.connect(embedded_broker.port) as client:
        client.declare("q", exclusive=False)
        tag = client.consume("q")
        embedded_broker.call(lambda broker: broker.vhost().delete_queue(broker.vhost().queues["q"]))
        client.wait_for(lambda record: record.cancelled == [tag])


def test_it_listens_again_on_the_same_port(embedded_broker: RunningBroker) -> None:
    port = embedded_broker.port
    with RecordingClient.connect(port) as client:
        embedded_broker.refuse_connections()
        embedded_broker.refuse_connections()
        with pytest.raises(ConnectionRefusedError):
            RecordingClient.connect(port)
        client.declare("those that are there stay")
        embedded_broker.accept_connections()
        with RecordingClient.connect(port):
            assert embedded_broker.call(lambda broker: len(broker.connections)) == 2


def test_recovery_ends_all_faults(embedded_broker: RunningBroker) -> None:
    embedded_broker.plan(Drop())
    embedded_broker.refuse_connections()
    embedded_broker.block()
    embedded_broker.recover()
    with RecordingClient.connect(embedded_broker.port) as client:
        client.declare("q")
        client.confirm()
        client.publish("", "q")
        client.wait_for_confirms()
        assert client.record.times_blocked == 0


def test_a_configuration_that_is_wrong_is_told_with_the_log() -> None:
    with pytest.raises(StartError, match="key_paterns"):
        with running_trabbits({"routing": {"key_paterns": []}}, upstreams={"a": "127.0.0.1:1"}):
            pass


def test_upstreams_and_configuration_are_put_together() -> None:
    config = {"heartbeat": 5, "upstreams": [{"name": "c", "address": "c:1"}, {"name": "b", "timeout": "1s"}]}
    assert with_upstreams(config, {"a": "a:1", "b": "b:2"}) == {
        "heartbeat": 5,
        "upstreams": [
            {"name": "a", "address": "a:1"},
            {"name": "b", "address": "b:2", "timeout": "1s"},
            {"name": "c", "address": "c:1"},
        ],
    }
    assert with_upstreams(config, None) is config
