"""Two processes on one port, stopped and replaced in turn under load: nothing is lost and nobody is turned away.

Covered: SIGTERM to real processes that share the port.  Not covered: how the listener does it (tests/service).
"""

from __future__ import annotations

import signal
from collections import deque

from tests.contract.target import plain_config
from tests.faults.conftest import surprises
from tests.operation.conftest import PATIENT
from tests.operation.load import Load
from tests.operation.visitors import Visitors
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

CLIENTS = 50
#: Seconds between two messages of one of them, on average.
PERIOD = 0.25
#: New short connections per second, and how many more around each stop.
VISITORS = 100.0
VOLLEY = 100
#: How often a process is stopped and replaced.
TURNS = 4
FAREWELL = (320, "CONNECTION_FORCED - Server shutting down")


def test_rolling_upgrade(trabbits: ProxyFactory, rabbit_a: RabbitNode, operation_vhost: str) -> None:
    """Each of two processes is stopped and replaced twice: every confirmed message arrives, every client is let in."""
    port = 0
    versions: dict[TrabbitsProcess, int] = {}

    def start() -> TrabbitsProcess:
        # Clients are told the channel_max, which tells the processes apart.
        version = 1000 + len(versions)
        proxy = trabbits(plain_config(rabbit_a, channel_max=version, **PATIENT), ["--port", str(port)])
        versions[proxy] = version - 1
        return proxy

    first = start()
    port = first.port
    running = deque([first, start()])
    with Load(port, operation_vhost, CLIENTS, PERIOD) as load:
        visitors = Visitors(load)
        visitors.stream(VISITORS)
        eventually(lambda: load.working == CLIENTS, 20, "all clients at work")
        for turn in range(TURNS):
            leaving, staying = running.popleft(), running[0]
            wait_for_clients(load, versions[leaving], 1)
            # From just before to well after the moment in which it stops to listen.
            visitors.volley(VOLLEY, 0.8)
            leaving.send_signal(signal.SIGTERM)
            assert leaving.wait(15) == 0, leaving.log_text
            wait_for_clients(load, versions[staying], CLIENTS)
            assert not leaving.find_logs(event="sessions_dropped")
            assert not surprises(leaving)
            print(f"turn {turn}: {visitors.served} visitors served, {visitors.put_off} told to come again")
            running.append(start())
        visitors.stop()
        eventually(lambda: not visitors.under_way or load.ledger.failures, 20, "all visitors served")
        ledger = load.finish()
    print(ledger)
    ledger.check([FAREWELL])
    # A connection that the leaving process does not take is asked for again after one second, and after three.
    assert ledger.slowest_connect < 5
    for proxy in running:
        assert proxy.terminate() == 0
        assert not surprises(proxy)


def wait_for_clients(load: Load, version: int, count: int) -> None:
    """At least `count` of the load's clients are connected to the process of this version."""
    eventually(lambda: load.offers[version] >= count, 15, f"{count} clients at the process with {version} channels")
