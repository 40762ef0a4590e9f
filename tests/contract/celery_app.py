"""The Celery application that `test_celery.py` runs in a worker process; the broker's address is in the environment."""

from __future__ import annotations

import os

import celery
from kombu.entity import Queue

QUEUES = ("a.tasks", "b.tasks")

app = celery.Celery("contract", broker=os.environ["CONTRACT_BROKER"], backend="rpc://")
app.conf.update(
    task_queues=[Queue(name, routing_key=name, exchange="", auto_delete=True) for name in QUEUES],
    task_default_queue=QUEUES[0],
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=1,
    broker_connection_retry=False,
    broker_connection_retry_on_startup=False,
    broker_transport_options={"confirm_publish": True, "socket_timeout": 10},
    result_expires=60,
)


@app.task(name="contract.add")
def add(left: int, right: int) -> int:
    """The sum."""
    return left + right


@app.task(name="contract.refuse")
def refuse() -> None:
    """An exception that has to travel back."""
    raise ValueError("refused")
