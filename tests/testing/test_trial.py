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
#: A broker with something to do later when its last client is dropped, and what `faults.md` says of trial.
BROKERS = """

class BrokersTests(TrabbitsTestsMixIn, TestCase):
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

    async def test_a_broker_that_refuses_connections_for_a_while(self):
        server = self.embedded_broker("old")
        await server.stop_listening()
        await self.assertFailure(self.in_thread(RecordingClient.connect, server.port), ConnectionRefusedError)
        server.listen("127.0.0.1", server.port)
        client = await self.in_thread(RecordingClient.connect, server.port)
        self.addCleanup(client.drop)
        server.broker.block("maintenance")
        client.publish("", "q", b"x")
        await self.in_thread(client.wait_for, lambda record: record.blocked)
        server.broker.unblock()
        server.factory.settle()
        await self.in_thread(client.wait_for, lambda record: not record.blocked)
"""


def test_trial_runs_it_and_finds_nothing_left_behind(tmp_path: Path) -> None:
    """The example of the documentation, a contract, and brokers that stop for good or for a while."""
    (code,) = re.findall(r"^```python\n(from twisted.trial.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_own.py").write_text(code + CONTRACT + BROKERS)
    command = [sys.executable, "-m", "twisted.trial", "test_own"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED (successes=" in done.stdout
