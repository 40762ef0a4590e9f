"""SIGHUP under load: hundreds of clients are moved to the new configuration at the pace that it says.

Covered: a real process, its log, and what its clients see of it.  Not covered: what the sessions inside know of their
configuration (``test_reload_inside.py``).
"""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.faults.conftest import surprises
from tests.operation.conftest import PATIENT
from tests.operation.load import Load
from tests.operation.pace import Pace, ahead
from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

CLIENTS = 300
#: Seconds between two messages of one of them, on average.
PERIOD = 0.6
BURST = 75
RATE = 125
#: Which of the reloads is invalid, and how many there are.
INVALID, RELOADS = 4, 10
UPDATED = (320, "CONNECTION_FORCED - Configuration updated, please reconnect")


def config(node: RabbitNode, number: int, **options: Any) -> dict[str, Any]:
    """Two configurations in turn; each one's `channel_max` is its own, which clients are told."""
    check = {"username": "guest", "password": "guest", "interval": "1s" if number % 2 else "2s"}
    return {
        "upstreams": [{"name": "a", "address": node.address, "health_check": check}],
        "channel_max": 1000 + number,
        "heartbeat": 60 if number % 2 else 50,
        "graceful_shutdown": {"burst_size": BURST, "rate_limit": RATE},
        **PATIENT,
        **options,
    }


def offered(number: int) -> int:
    """What clients are told of `config(…, number)`: the top channel is the proxy's own."""
    return 1000 + number - 1


def test_ten_reloads(trabbits: ProxyFactory, rabbit_a: RabbitNode, operation_vhost: str) -> None:
    """Each moves all clients at its pace; the invalid one moves nobody; no confirmed message is lost."""
    proxy = trabbits(config(rabbit_a, 0))
    paces = []
    with Load(proxy.port, operation_vhost, CLIENTS, PERIOD) as load:
        eventually(lambda: load.working == CLIENTS, 30, "all clients at work")
        running = 0
        for number in range(1, RELOADS + 1):
            if number == INVALID:
                changes_nothing(proxy, load, config(rabbit_a, number, upstream=[], frame_max=1), running)
            else:
                paces.append(moves_everybody(proxy, load, config(rabbit_a, number), number))
                running = number
        eventually(lambda: links(rabbit_a, operation_vhost) == CLIENTS, 15, "one link for each client")
        ledger = load.finish()
    for pace in paces:
        print(pace)
    print(ledger)
    ledger.check([UPDATED])
    assert not surprises(proxy)
    assert not proxy.find_logs(event="node_check_failed")
    assert proxy.terminate() == 0
    typical = Pace.typical(paces)
    assert abs(typical.rate / RATE - 1) <= 0.2, f"{RATE} per second wanted, got {typical}"
    assert abs(typical.burst / BURST - 1) <= 0.2, f"{BURST} at once wanted, got {typical}"


def links(node: RabbitNode, vhost: str) -> int:
    """How many connections the node has; exact, while its HTTP API sometimes remembers one that is gone."""
    return node.ctl("list_connections", "vhost").split().count(vhost)


def moves_everybody(proxy: TrabbitsProcess, load: Load, changed: dict[str, Any], number: int) -> Pace:
    """Everybody is told once to come back, and finds the new configuration; how fast that went."""
    before, lines = time.monotonic(), len(proxy.logs)
    proxy.write_config(changed)
    proxy.send_signal(signal.SIGHUP)
    reloaded = proxy.wait_for_log(event="config_reloaded", after=lines)
    assert reloaded["sessions"] == CLIENTS
    finished = proxy.wait_for_log(event="reload_finished", after=lines)
    assert finished["closed"] == CLIENTS
    eventually(lambda: load.offers == {offered(number): CLIENTS}, 15, "everybody under the new configuration")
    everybody_works(load)
    times = load.ledger.times_since(before)
    assert len(times) == CLIENTS, "not everybody was told exactly once"
    assert ahead(times, before, BURST, RATE) <= 0
    # What was used of a burst comes back at the rate.
    eventually(lambda: time.monotonic() > times[-1] + BURST / RATE)
    return Pace.of(times, BURST)


def changes_nothing(proxy: TrabbitsProcess, load: Load, wrong: dict[str, Any], running: int) -> None:
    """The log says all that is wrong, nobody is disconnected, and everybody gets on with the work."""
    before, lines = time.monotonic(), len(proxy.logs)
    proxy.write_config(wrong)
    proxy.send_signal(signal.SIGHUP)
    refused = proxy.wait_for_log(event="config_refused", after=lines)
    assert "frame_max" in refused["text"]
    assert "upstream" in refused["text"]
    everybody_works(load)
    assert not load.ledger.times_since(before)
    assert load.offers == {offered(running): CLIENTS}
    assert not proxy.logs[lines + 1 :], "nothing else happened"


def everybody_works(load: Load) -> None:
    """Another message is confirmed to everybody."""
    rounds = load.rounds + 1
    eventually(lambda: load.rounds >= rounds, 15, "another message confirmed to everybody")
