"""File descriptors: none is left behind by clients that vanish, and running out of them ends nothing but newcomers.

trabbits is a process of its own here, with its own reactor.
"""

from __future__ import annotations

import itertools
import os
import resource
from concurrent.futures import ThreadPoolExecutor

from tests.contract.target import HOST
from tests.faults.bystander import Bystander
from tests.faults.vanishing import ENDS, STAGES, Stage, Vanishing, not_reading
from trabbits.testing.raw_client import Closed, RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

#: Descriptors that the process may still open.
SPARE = 20


def descriptors(proxy: TrabbitsProcess) -> int:
    """How many file descriptors the process has."""
    return len(os.listdir(f"/proc/{proxy.pid}/fd"))


def test_vanishing_clients_leave_no_descriptor(proxy: TrabbitsProcess, faults_vhost: str) -> None:
    """Every stage with every end; meanwhile somebody works."""
    with Bystander(HOST, proxy.port, faults_vhost) as bystander, ThreadPoolExecutor(8) as pool:
        before = descriptors(proxy)

        def vanish(stage: Stage, end: int) -> None:
            gone = Vanishing.dial(proxy.port, faults_vhost)
            stage(gone)
            ENDS[end](gone.client)

        kinds = itertools.product([*STAGES, not_reading], range(len(ENDS)))
        for work in [pool.submit(vanish, *kind) for kind in kinds]:
            work.result()
        eventually(lambda: descriptors(proxy) == before, 15, "as many descriptors as before")
        bystander.goes_on()


def test_more_clients_than_descriptors(proxy: TrabbitsProcess, faults_vhost: str) -> None:
    """Who comes too late is dropped or told so; who is there works on; who comes when others have left is welcome."""
    limits = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
    with Bystander(HOST, proxy.port, faults_vhost) as bystander:
        before = descriptors(proxy)
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (before + SPARE, limits[1]))
        try:
            clients, refused = crowd(proxy, faults_vhost)
            assert SPARE // 4 <= len(clients) <= SPARE // 2
            assert refused >= SPARE
            bystander.goes_on(rounds=3)
            for client in clients:
                client.close_politely()
            eventually(lambda: descriptors(proxy) <= before, 15, "descriptors are free again")
            RawClient.open(HOST, proxy.port, vhost=faults_vhost).close_politely()
            bystander.goes_on()
        finally:
            resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, limits)


def crowd(proxy: TrabbitsProcess, vhost: str) -> tuple[list[RawClient], int]:
    """The clients that were let in, and how many were not, when twice as many come as there is room for."""
    clients, refused = [], 0
    for _ in range(2 * SPARE):
        try:
            clients.append(RawClient.open(HOST, proxy.port, vhost=vhost))
        except (Closed, ConnectionError):
            refused += 1  # there was not even a descriptor to hear it with
        except AssertionError as unexpected:
            told = str(unexpected)
            assert "320" in told
            assert "Too many open files" in told
            refused += 1
    return clients, refused
