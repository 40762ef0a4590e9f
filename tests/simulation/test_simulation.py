"""Some hundred seeds, and that a seed means the same everywhere.  Many more: ``make simulate``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.report import report, shrunk, simulate

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCKS, SEEDS = 15, 20
#: What must have happened in these seeds, or they would prove nothing.
RARE = (
    "many channels open",
    "client full",
    "link full",
    "link paused by the session",
    "held delivery given back",
    "message acknowledged",
    "message rejected",
    "message dropped: expired",
    "message refused by a full queue",
    "returned",
    "headers renamed",
    "dead letter with other names",
    "got",
    "fault: lose link",
    "fault: close link",
    "fault: close channel",
    "consumer cancelled by a broker",
    "log upstream_skipped",
    "timer heartbeat",
    "CountMessages",
    "ProbeQueue True",
    "DeleteQueue deleted",
    "rewritten Exchange.Declare",
    "rewritten Exchange.Unbind",
    "rewritten Queue.Bind",
    "rewritten Queue.Unbind",
)

counts: Counter[str] = Counter()


@pytest.mark.parametrize("block", range(BLOCKS))
def test_everything_holds(block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        outcome = simulate(seed)
        assert not outcome.failure, "\n" + report(shrunk(outcome))


def test_rare_things_really_happen() -> None:
    for seed in range(BLOCKS * SEEDS):
        counts.update(simulate(seed).counts)
        if all(counts[what] for what in RARE):
            return
    raise AssertionError(f"never happened: {[what for what in RARE if not counts[what]]}")


def test_a_seed_is_the_same_in_every_process() -> None:
    """Neither the order of sets nor time nor chance from elsewhere has a say."""
    program = "from tests.simulation.report import simulate; print(*(simulate(s, last=None).digest for s in range(8)))"
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout)
    assert len(digests) == 1
    assert len(set(digests.pop().split())) == 8


def test_a_failure_is_reported_so_that_it_can_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.simulation.mutations import returns_are_dropped

    returns_are_dropped(monkeypatch)
    outcome = next(found for found in map(simulate, range(100)) if found.failure)
    small = shrunk(outcome)
    assert small.failure
    assert small.steps <= outcome.steps
    text = report(small)
    assert f"make simulate SEED={outcome.seed} STEPS={small.steps}" in text
    assert "t<-u" in text
    again = simulate(outcome.seed, small.steps)
    assert (again.failure, again.digest) == (small.failure, small.digest)


#: A simulation whose every step loops for ever; alone, it takes the first alarm for a routing strategy's failure.
LOOPS = """
import sys
from tests.simulation import __main__ as program
from tests.simulation.world import World

program.SEED_TIMEOUT = program.SHRUNK_TIMEOUT = program.ALONE_TIMEOUT = 0.1

def loop(world):
    while True:
        pass

def loop_on(world):
    try:
        loop(world)
    except Exception:
        loop(world)

World._step = loop_on if "--seed" in sys.argv else loop
sys.exit(program.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("arguments", ["--seed 1 --steps 3", "-n 1 --jobs 1"])
def test_a_seed_that_loops_for_ever_is_a_failure_like_others(arguments: str) -> None:
    command = [sys.executable, "-c", LOOPS, *arguments.split()]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1, run.stderr
    assert "nothing is stuck: it takes longer than 0.1 s" in run.stdout
    assert "again: make simulate SEED=" in run.stdout
