"""An installation of RabbitMQ with only those plugins that a node needs.

What lives here: finding out what belongs to an enabled plugin, and a folder of links in the shape of the installation.

RabbitMQ looks for each of its 1100 modules in the folders of all plugins, enabled or not, one after the other.  With
26 of them in place of 71, a node starts with two thirds of the CPU time.

What it must not know: how nodes are started (rabbitmq.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_APPLICATIONS = re.compile(r"\{\s*applications\s*,\s*\[([^\]]*)\]")


def make_home(scripts: Path, plugins: Sequence[str], home: Path) -> Path | None:
    """Fill the new folder `home` with links into the installation that `scripts` belongs to; its folder of scripts.

    None, and no folder, where plugins are installed in another way than as folders, or one of these is not.
    """
    installed = {path.name.partition("-")[0]: path for path in (scripts.parent / "plugins").glob("*-*")}
    wanted, needed = ["rabbit", *plugins], set[str]()
    try:
        while wanted:
            name = wanted.pop()
            if name in installed and name not in needed:
                needed.add(name)
                wanted += _applications(installed[name] / "ebin" / f"{name}.app")
    except OSError:  # an archive
        return None
    if not needed.issuperset(["rabbit", *plugins]):
        return None
    (home / "plugins").mkdir(parents=True)
    for name in needed:
        (home / "plugins" / installed[name].name).symlink_to(installed[name])
    for part in (scripts, scripts.parent / "escript"):
        (home / part.name).symlink_to(part)
    return home / scripts.name


def _applications(description: Path) -> list[str]:
    """The applications that one says it needs, Erlang's own among them."""
    found = _APPLICATIONS.search(description.read_text())
    return re.findall(r"\w+", found[1]) if found else []
