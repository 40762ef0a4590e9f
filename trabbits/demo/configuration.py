"""The configuration that the demo writes, for its user to change.

Lives here: what it says, and where it stands.  Must not know: what the proxy makes of it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trabbits.demo.brokers import NAMES

#: What goes to the new broker from the beginning, and what the demo proposes to move next.
MOVED: Final = "invoices.#"
NEXT: Final = "orders.#"


def text(addresses: Mapping[str, str]) -> str:
    """The configuration as JSON: the first upstream gets everything but what was moved to the second."""
    old, new = NAMES
    upstreams = [
        {"name": old, "address": addresses[old]},
        {"name": new, "address": addresses[new], "routing": {"key_patterns": [MOVED]}},
    ]
    lines = ",\n".join(f"    {json.dumps(upstream)}" for upstream in upstreams)
    return f'{{\n  "upstreams": [\n{lines}\n  ]\n}}\n'


def write(folder: Path, addresses: Mapping[str, str]) -> Path:
    """Write it; where."""
    path = folder / "config.json"
    path.write_text(text(addresses))
    return path


def move_command(path: Path) -> str:
    """A shell command that moves the next key family, too."""
    return f"""sed -i 's/"{MOVED}"/"{MOVED}", "{NEXT}"/' {shlex.quote(str(path))}"""
