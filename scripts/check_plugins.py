"""Tries plugins of others as a user would: trabbits' wheel and each distribution in one empty environment.

`check_plugins.py WHEEL FOLDER...` runs each distribution's tests there, looks for its plugins in ``trabbits plugins
list``, and starts ``twistd trabbits`` with its ``example/config.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import venv
from pathlib import Path

from check_wheel import output_of

START_TIMEOUT = 30.0
_LISTENING = '"TR002"'


def main(wheel: Path, folders: list[Path]) -> None:
    """Check all of them; SystemExit with the reason when something is wrong."""
    with tempfile.TemporaryDirectory(prefix="trabbits-plugins-") as temporary:
        # Building leaves files beside the sources: not in the checkout.
        copies = [Path(shutil.copytree(folder, Path(temporary, folder.name))) for folder in folders]
        bin_folder = f"{temporary}/venv/bin"
        venv.create(f"{temporary}/venv", with_pip=True)
        output_of(
            f"{bin_folder}/pip",
            *("install", "-q", "--disable-pip-version-check", str(wheel.resolve())),
            *(f"{copy}[test]" for copy in copies),
            folder=temporary,
        )
        output_of(f"{bin_folder}/trabbits", "plugins", "check", folder=temporary)
        for copy in copies:
            check(copy, bin_folder)


def check(folder: Path, bin_folder: str) -> None:
    """One distribution that is installed already."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    # What was installed is tried, not the sources.
    shutil.rmtree(folder / "src")
    tests = output_of(f"{bin_folder}/python", "-m", "pytest", "-q", folder=str(folder)).splitlines()
    example = str(folder / "example")
    listed = json.loads(
        output_of(f"{bin_folder}/trabbits", "plugins", "list", "--json", "--config", "config.json", folder=example)
    )
    for name, value in project["entry-points"]["trabbits.plugins"].items():
        origin = f"{project['name']}: {value}"
        found = [each for each in listed["plugins"] if each["origin"] == origin]
        if not found:
            raise SystemExit(f"trabbits plugins list does not know {name} ({origin}); broken: {listed['broken']}")
        if not found[0]["used"]:
            raise SystemExit(f"trabbits plugins list does not see that example/config.json uses {name}")
    output_of(f"{bin_folder}/trabbits", "plugins", "check", "--config", "config.json", folder=example)
    starts(bin_folder, example)
    print(f"{project['name']}: {tests[-1]}; twistd trabbits runs with it")


def starts(bin_folder: str, folder: str) -> None:
    """Whether twistd starts trabbits with the configuration in this folder, and ends it cleanly."""
    command = [f"{bin_folder}/twistd", "--nodaemon", "--pidfile=", "trabbits", "--config", "config.json"]
    command += ["--host", "127.0.0.1", "--port", "0", "--no-metrics", "--api-socket", "", "--log-format", "json"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRABBITS"))}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(START_TIMEOUT, process.kill)
        watchdog.start()
        lines = []
        began = time.monotonic()
        for line in process.stdout:
            lines.append(line)
            if _LISTENING in line:
                process.send_signal(signal.SIGTERM)
        status = process.wait()
        watchdog.cancel()
    if status != 0 or not any(_LISTENING in line for line in lines):
        text = "".join(lines)
        raise SystemExit(f"{' '.join(command)}: status {status} after {time.monotonic() - began:.0f} s\n{text}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
