"""Tries a wheel as a user would: installed into an empty environment, far away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PLUGIN = "twisted/plugins/trabbits_plugin.py"
KIT = """
import trabbits.testing.contracts, trabbits.testing.trial
from trabbits.testing.client import RecordingClient
from trabbits.testing.running import running_broker, running_trabbits
with running_broker() as broker, running_trabbits(upstreams={"a": broker}) as proxy:
    RecordingClient.connect(proxy.port).close()
"""


def output_of(*command: str, folder: str) -> str:
    """What a command prints; raises when it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main(wheel: Path) -> None:
    """Check one wheel; SystemExit with the reason when something is missing."""
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (PLUGIN, "trabbits/py.typed", "trabbits/testing/pytest_plugin.py"):
        if wanted not in names:
            raise SystemExit(f"{wheel.name} lacks {wanted}")
    strangers = [name for name in names if not name.startswith(("trabbits/", PLUGIN, "trabbits-"))]
    if strangers:
        raise SystemExit(f"{wheel.name} holds what does not belong there: {strangers}")
    with tempfile.TemporaryDirectory(prefix="trabbits-wheel-") as folder:
        venv.create(folder, with_pip=True)
        bin_folder = f"{folder}/bin"
        output_of(
            f"{bin_folder}/pip", "install", "-q", "--disable-pip-version-check", str(wheel.resolve()), folder=folder
        )
        version = output_of(f"{bin_folder}/trabbits", "--version", folder=folder).strip()
        if wheel.name.split("-")[1] not in version:
            raise SystemExit(f"trabbits --version says {version!r}, the wheel is {wheel.name}")
        as_module = output_of(f"{bin_folder}/python", "-m", "trabbits", "--version", folder=folder).strip()
        if as_module != version:
            raise SystemExit(f"python -m trabbits --version says {as_module!r}, trabbits --version {version!r}")
        if "trabbits" not in output_of(f"{bin_folder}/twistd", "--help", folder=folder):
            raise SystemExit("twistd --help does not list trabbits")
        output_of(f"{bin_folder}/twistd", "trabbits", "--help", folder=folder)
        # The testing kit, where there is no pytest.
        output_of(f"{bin_folder}/python", "-c", KIT, folder=folder)
        demo = output_of(
            f"{bin_folder}/trabbits",
            *("demo", "--seconds", "1", "--port", "0", "--metrics-port", "0", "--api-socket", f"{folder}/demo.sock"),
            folder=folder,
        )
        if " 0 lost." not in demo:
            raise SystemExit(f"trabbits demo does not end as it should:\n{demo}")
    print(f"{wheel.name}: {version}; twistd knows it, trabbits demo runs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
