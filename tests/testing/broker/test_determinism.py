"""The same calls give the same octets in every process: simulations stand on it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.proxy import ROOT
from tests.testing.broker.story import Story


@pytest.mark.parametrize("seed", range(4))
def test_the_books_balance_after_a_long_story(seed: int) -> None:
    _, balanced = Story(seed).tell()
    assert balanced


def test_a_story_is_the_same_in_another_process() -> None:
    """Python orders sets of texts differently in each process, by the hash seed."""
    told = [" ".join(map(str, Story(7).tell()))]
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.testing.broker.story", "7"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        told.append(done.stdout.strip())
    assert set(told) == {told[0]}
    assert told[0] != " ".join(map(str, Story(8).tell()))
