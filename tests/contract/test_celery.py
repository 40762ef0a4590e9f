"""Celery, the largest user of AMQP in Python: a worker and its client, both through the target."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import celery
import pytest

from tests.contract.target import Target
from tests.proxy import ROOT
from trabbits.testing.raw_client import eventually

RESULT_WITHIN = 15


@contextmanager
def worker(url: str) -> Iterator[Path]:
    """A worker process that has connected; its log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "worker.log"
        command = [sys.executable, "-m", "celery", "-A", "tests.contract.celery_app", "worker"]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, "-P", "solo", "-l", "info"],
                env={**os.environ, "CONTRACT_BROKER": url, "C_FORCE_ROOT": "1"},
                cwd=ROOT,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            eventually(lambda: "ready." in log.read_text() or process.poll() is not None, within=25, what="the worker")
            assert process.poll() is None, log.read_text()
            yield log
            process.terminate()
            assert process.wait(15) == 0, log.read_text()
        except BaseException:
            print(f"--- worker ---\n{log.read_text()}")
            raise
        finally:
            process.kill()
            process.wait()


def application(url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[celery.Celery, Any]:
    """The client's side of the application and its tasks' module."""
    monkeypatch.setenv("CONTRACT_BROKER", url)
    sys.modules.pop("tests.contract.celery_app", None)
    import tests.contract.celery_app as module

    return module.app, module


def test_tasks_run_and_their_results_come_back(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    app, tasks = application(target.url, monkeypatch)
    with worker(target.url), app.connection_for_write() as connection:
        results = [
            tasks.add.apply_async((number, 1), queue=f"{'ab'[number % 2]}.tasks", connection=connection)
            for number in range(10)
        ]
        assert [result.get(timeout=RESULT_WITHIN) for result in results] == list(range(1, 11))
        with pytest.raises(ValueError, match="refused"):
            tasks.refuse.apply_async(queue="b.tasks").get(timeout=RESULT_WITHIN)
        # Remote control: a broadcast, answered by the worker to a queue of the asker.
        assert list(app.control.ping(timeout=RESULT_WITHIN, limit=1)[0].values()) == [{"ok": "pong"}]
        # Tasks for later occupy the prefetch; the worker raises it so that others still run.  How, it decides by the
        # product and version that the server announces.
        eta = datetime.now(UTC) + timedelta(hours=1)
        for number in range(8):
            tasks.add.apply_async((0, 0), queue=f"{'ab'[number % 2]}.tasks", eta=eta)
        assert tasks.add.apply_async((20, 22), queue="a.tasks").get(timeout=RESULT_WITHIN) == 42
        assert tasks.add.apply_async((20, 23), queue="b.tasks").get(timeout=RESULT_WITHIN) == 43
    app.close()
