"""`TrabbitsTestsMixIn`, in a run of trial of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TEST = """
from twisted.trial.unittest import TestCase

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.key_patterns import key_patterns
from trabbits.testing.broker import CloseConnection
from trabbits.testing.client import RecordingClient
from trabbits.testing.contracts import RoutingStrategyTestsMixIn
from trabbits.testing.trial import TrabbitsTestsMixIn


class KeyPatternsTests(RoutingStrategyTestsMixIn, TestCase):
    plugin = key_patterns


class ProxyTests(TrabbitsTestsMixIn, TestCase):
    timeout = 30

    async def test_a_message(self):
        old = self.embedded_broker("old")
        proxy = await self.trabbits_proxy(upstreams={"old": old})
        client = await self.in_thread(RecordingClient.connect, proxy.port)
        await self.in_thread(client.declare, "q")
        client.publish("", "q", b"one")
        await self.in_thread(client.settle)
        self.assertEqual(len(old.broker.vhost().queues["q"].ready), 1)
        old.broker.faults.strike(CloseConnection(320, "bye"))
        old.factory.settle()
        await self.in_thread(client.wait_for, lambda record: record.ended)
        self.assertEqual(client.record.closing().code, 320)
        client.drop()
"""


def test_trial_runs_it_and_finds_nothing_left_behind(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(TEST)
    command = [sys.executable, "-m", "twisted.trial", "test_own"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED (successes=" in done.stdout
