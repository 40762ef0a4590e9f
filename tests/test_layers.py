"""The layers: a module imports only what stands below it, and the sans-IO core works without Twisted.

Covered: direct imports (by syntax tree, those inside functions and under TYPE_CHECKING included), indirect imports
(by importing in a fresh process), that ruff refuses Twisted in the core, and that built-in plugins get along with what
those of others may use.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "trabbits"

# From the bottom to the top. A module may import from its own layer and from those before it in this list.
# A layer is a package or a module of trabbits.
LAYERS = [
    "log_ids",  # names of log lines, used everywhere
    "failures",  # what may be told of somebody else's code
    "described",  # models with docstrings
    "wire",
    "interfaces",  # what plugins implement; the session calls them
    "session",
    "logs",
    "plugins",  # the built-in ones
    "config",
    "durations",  # plain counts of times
    "systemd",  # notifications and inherited sockets
    "transport",
    "tls",  # on ports of our own
    "reactor",  # Twisted's, for many small events; knows nothing of trabbits
    "upstream",
    "frontend",
    "admin",
    "assembly",  # from a configuration to upstreams, strategies and settings
    "service",
    "demo",  # embedded brokers, the service tree, and applications that talk through it
    "api_client",  # HTTP to the admin API; imports nothing of trabbits
    "console",
    "cli",
    "__main__",
]
# Beside the layers: tools for tests and trials, which know the wire at most, and are used by the demo and the cli only.
# Those parts that know more have a line of their own.
BESIDE = {
    "testing": {"wire", "interfaces", "log_ids"},
    "testing.broker.server": {"testing", "transport"},  # puts the embedded broker on a port
    "testing.contracts": {"wire", "interfaces", "plugins"},  # what plugins have to keep to
    "testing.running": {"testing", "testing.broker.server"},  # brokers in threads, trabbits as a process
    "testing.trial": {"testing", "testing.broker.server", "testing.running"},  # the same for trial
    "testing.pytest_plugin": {"testing", "testing.running"},  # and for pytest
}
USERS_OF_BESIDE = ("demo", "cli")

# What plugins may use of trabbits, and what is behind them; everything else in trabbits/plugins is built-in plugins.
PUBLIC = {
    "trabbits.interfaces",
    "trabbits.plugins.combining",
    "trabbits.plugins.declaring",
    "trabbits.plugins.field_tables",
    "trabbits.plugins.logging",
}
BEHIND_PLUGINS = {"trabbits.plugins.catalogue", "trabbits.plugins.checking", "trabbits.plugins.verifying"}
# Who knows a built-in plugin by more than its name.
KNOWN_BUILT_IN = {
    ("trabbits.cli.main", "trabbits.plugins.key_patterns"),  # the command that tries a pattern
    ("trabbits.upstream.selection", "trabbits.plugins.least_connections"),  # stands in for a selector that fails
    ("trabbits.upstream.upstream", "trabbits.plugins.least_connections"),  # where no selector is given
}

# These run without Twisted and txamqp.
SANS_IO = ["log_ids", "failures", "wire", "interfaces", "session", "testing"]
BANNED = ("twisted", "txamqp")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of trabbits with its dotted name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def layer_of(module: str) -> str:
    """The part below trabbits: `trabbits.wire.scanner` is in `wire`; trabbits itself is in no layer."""
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        if (part := ".".join(parts[1:length])) in BESIDE:
            return part
    return parts[1] if len(parts) > 1 else ""


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            # `from trabbits import wire` imports the layer, not only the package.
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "trabbits" else [node.module]
            )
            for name in names:
                yield node.lineno, name


def allowed(layer: str) -> set[str]:
    """The layers that a layer may import."""
    if layer in BESIDE:
        return BESIDE[layer] | {layer}
    below = set(LAYERS[: LAYERS.index(layer) + 1])
    return below | set(BESIDE) if layer in USERS_OF_BESIDE else below


def test_every_module_is_in_a_layer() -> None:
    """A new package or module right below trabbits/ gets its place in LAYERS."""
    unknown = {layer_of(name) for name, _ in modules()} - set(LAYERS) - set(BESIDE) - {""}
    assert not unknown


@pytest.mark.parametrize(("name", "path"), [pytest.param(name, path, id=name) for name, path in modules()])
def test_imports_go_downwards(name: str, path: Path) -> None:
    """No module imports from a layer above its own."""
    layer = layer_of(name)
    upwards = [
        f"{path.relative_to(ROOT)}:{line}: {layer or 'trabbits'} imports {imported}"
        for line, imported in imports_of(path)
        if imported.startswith("trabbits.")
        and not imported.startswith("trabbits.__")
        and (not layer or layer_of(imported) not in allowed(layer))
    ]
    assert not upwards


def built_in() -> dict[str, Path]:
    """The modules of the built-in plugins; they may share what they like among themselves."""
    folder = "trabbits.plugins."
    return {name: path for name, path in modules() if name.startswith(folder) and name not in PUBLIC | BEHIND_PLUGINS}


def test_built_in_plugins_use_what_those_of_others_may_use() -> None:
    """Nothing is theirs alone, nor does anything of trabbits that plugins decide about know one of them."""
    ours = built_in()
    assert len(ours) > 20
    outside = {
        (name, imported)
        for name, path in ours.items()
        for _, imported in imports_of(path)
        if imported.startswith("trabbits") and imported not in PUBLIC | ours.keys()
    }
    assert not outside
    known = {
        (name, imported)
        for name, path in modules()
        if name not in ours
        for _, imported in imports_of(path)
        if imported in ours
    }
    assert known == KNOWN_BUILT_IN


def test_the_plugins_of_others_use_what_is_public() -> None:
    """The two that come with trabbits, but for their tests."""
    paths = list((ROOT / "plugins").glob("*/src/**/*.py"))
    used = {imported for path in paths for _, imported in imports_of(path) if imported.startswith("trabbits.")}
    assert {"trabbits.interfaces"} < used <= PUBLIC


def test_the_documentation_lists_what_is_public() -> None:
    page = (ROOT / "docs" / "plugins" / "index.md").read_text()
    section = page.partition("### What is public")[2].partition("\n### ")[0]
    assert set(re.findall(r"^\| `(trabbits[a-z._]*)` \|", section, re.MULTILINE)) == PUBLIC


@pytest.mark.parametrize("layer", SANS_IO)
def test_core_works_without_twisted(layer: str) -> None:
    """Importing every module of the layer in a fresh process loads no Twisted, not even indirectly."""
    names = [name for name, _ in modules() if layer_of(name) == layer]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    code += f"print(*[name for name in {BANNED!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("place", ["trabbits/wire/x.py", "trabbits/testing/broker/x.py", "trabbits/interfaces.py"])
@pytest.mark.parametrize(
    "code",
    ["from twisted.internet import defer\n", "import twisted.python.failure\n", "from txamqp.client import Closed\n"],
)
def test_ruff_refuses_twisted_in_the_core(place: str, code: str) -> None:
    """The lint rule TID251 is on in the core ..."""
    assert "TID251" in ruff_codes(place, code)


@pytest.mark.parametrize("place", ["trabbits/frontend/x.py", "trabbits/testing/broker/server.py", "tests/test_x.py"])
def test_ruff_allows_twisted_elsewhere(place: str) -> None:
    """... and off at the edges."""
    assert "TID251" not in ruff_codes(place, "from twisted.internet import defer\n")


def ruff_codes(place: str, code: str) -> str:
    """Ruff's findings in a file of this content at this place, which need not exist."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "--stdin-filename", place, "-"]
    done = subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout
