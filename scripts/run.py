"""`make run`: trabbits in front of a RabbitMQ, to be tried at once.

Uses the RabbitMQ that listens on localhost:5672; where none does, it starts one of its own on a free port, with its
data in a temporary folder, and ends it together with the proxy at Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from trabbits.testing.processes import ChildProcess, StartError
from trabbits.testing.rabbitmq import RabbitNode, shake_hands

STANDARD_PORT = 5672

NEXT_STEPS = """
trabbits listens on port {port} and passes everything on to RabbitMQ at {upstream}.
Send a message through it and get it back, in another terminal:

  {python} -c "
import pika
channel = pika.BlockingConnection(pika.URLParameters('amqp://guest:guest@localhost:{port}/%2F')).channel()
channel.queue_declare('hello', auto_delete=True)
channel.basic_publish('', 'hello', b'through trabbits')
print(channel.basic_get('hello', auto_ack=True)[2])
channel.connection.close()"

Or point any AMQP application to amqp://guest:guest@localhost:{port}/
The configuration is in docs/configuration.md, other things to do are in docs/usage.md. Ctrl-C ends the trial.
"""


def listens(port: int) -> bool:
    """Whether something accepts connections on localhost."""
    try:
        socket.create_connection(("localhost", port), timeout=2).close()
    except OSError:
        return False
    return True


def wait_until_it_answers(proxy: ChildProcess, port: int, timeout: float) -> bool:
    """Whether the proxy accepts connections in time; False when it ended."""
    deadline = time.monotonic() + timeout
    while proxy.status is None and time.monotonic() < deadline:
        try:
            shake_hands("localhost", port, timeout=5)
        except ConnectionRefusedError:
            time.sleep(0.1)
            continue
        except OSError as error:
            # It listens. Perhaps `guest` may not log in to the RabbitMQ that was found here.
            print(f"A first connection through trabbits failed: {error}", file=sys.stderr)
        return True
    return False


def run(port: int, upstream: str) -> int:
    """Run the proxy until it ends; its exit status."""
    with tempfile.TemporaryDirectory(prefix="trabbits-run-") as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"upstreams": [{"name": "rabbitmq", "address": upstream}]}, indent=2))
        command = [sys.executable, "-m", "trabbits", "run", "--config", str(config), "--port", str(port)]
        proxy = ChildProcess(command, stdout=None, stderr=None)
        try:
            if wait_until_it_answers(proxy, port, timeout=30):
                python = Path(sys.executable)
                shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
                print(NEXT_STEPS.format(port=port, upstream=upstream, python=shown), flush=True)
            return proxy.popen.wait()
        finally:
            proxy.end(signal.SIGTERM)


def interrupt(number: int, stack: FrameType | None) -> None:
    """SIGTERM ends the trial as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """Find or start a RabbitMQ, then run the proxy in front of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=6672, help="where the proxy listens (default: 6672)")
    port: int = parser.parse_args().port
    signal.signal(signal.SIGTERM, interrupt)
    try:
        if listens(port):
            print(f"Port {port} is taken. Try another one: make run PORT={port + 1}", file=sys.stderr)
            return 1
        if listens(STANDARD_PORT):
            print(f"Using the RabbitMQ on localhost:{STANDARD_PORT}.", flush=True)
            return run(port, f"localhost:{STANDARD_PORT}")
        print("No RabbitMQ listens on localhost:5672. Starting one for this trial ...", flush=True)
        with RabbitNode("trial", plugins=()) as node:
            return run(port, node.address)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Ended.", flush=True)
        return 0


if __name__ == "__main__":
    sys.exit(main())
