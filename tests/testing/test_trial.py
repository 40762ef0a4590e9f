"""`TrabbitsTestsMixIn`, in a run of trial of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "testing" / "running.md").read_text()
CONTRACT = """

from trabbits.plugins.key_patterns import key_patterns
from trabbits.testing.contracts import RoutingStrategyTestsMixIn


class KeyPatternsTests(RoutingStrategyTestsMixIn, TestCase):
    plugin = key_patterns
"""
#: What is to be done later, by the broker's clock, when its last client is dropped.
STOPPING = """

class StoppingTests(TrabbitsTestsMixIn, TestCase):
    timeout = 30

    async def test_a_broker_with_messages_that_expire_later(self):
        server = self.embedded_broker("old")
        client = await self.in_thread(RecordingClient.connect, server.port)
        self.addCleanup(client.drop)
        await self.in_thread(client.declare, "q", arguments={"x-message-ttl": 60000})
        client.publish("", "q", b"x")
        await self.in_thread(client.settle)
        first, second = server.stop(), server.stop()
        await second
        await first
"""


def test_trial_runs_it_and_finds_nothing_left_behind(tmp_path: Path) -> None:
    """The example of the documentation, a contract, and a broker that is stopped with something to do."""
    (code,) = re.findall(r"^```python\n(from twisted.trial.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_own.py").write_text(code + CONTRACT + STOPPING)
    command = [sys.executable, "-m", "twisted.trial", "test_own"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED (successes=" in done.stdout
