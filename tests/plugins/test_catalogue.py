"""`trabbits.plugins.catalogue`: what is found where plugins of others are broken, and what is said of unknown names.

Covered: modules, with everything that may be wrong with them.  Not covered: entry points (tests/cli/test_plugins.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trabbits.plugins
from trabbits.interfaces import INodeSelector, IRoutingStrategy
from trabbits.plugins.catalogue import Broken, Catalogue, UnknownPlugin, discover

DECLARATION = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from trabbits.interfaces import INodeSelector
from trabbits.plugins.declaring import IPluginDeclaration, PluginOptions


@implementer(IPlugin, IPluginDeclaration)
class Declaration:
    name = "mine"
    provides = INodeSelector
    options = PluginOptions
    summary = "of somebody else"
    make = staticmethod(lambda options, context: None)

{changes}

variable = Declaration()
"""

Found = Callable[..., tuple[list[str], list[Broken]]]


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Found]:
    """Look for plugins where modules with these texts were dropped in: the names of those in them, and the broken."""

    def find(**texts: str) -> tuple[list[str], list[Broken]]:
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
        catalogue = discover.__wrapped__()
        built_in = {each.name for each in discover().found}
        assert built_in <= {each.name for each in catalogue.found}
        assert all(each.origin.startswith(str(tmp_path)) for each in catalogue.broken)
        return [each.name for each in catalogue.found if each.name not in built_in], list(catalogue.broken)

    before = set(sys.modules)
    monkeypatch.setattr(trabbits.plugins, "__path__", [*trabbits.plugins.__path__, str(tmp_path)])
    yield find
    for name in set(sys.modules) - before:
        if name.startswith("trabbits.plugins."):
            del sys.modules[name]
            vars(trabbits.plugins).pop(name.rpartition(".")[2], None)


def declaration(changes: str) -> str:
    return DECLARATION.format(changes=changes)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'", id="import"),
        pytest.param("x = (", "SyntaxError: '(' was never closed (dropped_in.py, line 1)", id="syntax"),
        pytest.param("import sys; sys.exit('no\\nlicence')", "SystemExit: no licence", id="exits"),
        pytest.param("class Panic(BaseException): pass\nraise Panic('rust')", "Panic: rust", id="panics"),
        pytest.param("raise OSError('x' * 5000)", f"OSError: {'x' * 990}…", id="an endless error"),
        pytest.param("import sys; sys.modules[__name__] = 3", "TypeError: vars() argument must", id="no module"),
    ],
)
def test_modules_that_cannot_be_loaded(find: Found, text: str, error: str) -> None:
    """Each is told of by its own name, and what is in it is not known."""
    found, [broken] = find(dropped_in=text)
    assert found == []
    assert (broken.name, broken.named) == ("dropped_in", False)
    assert broken.error.startswith(error)


@pytest.mark.parametrize(
    ("changes", "name", "error"),
    [
        pytest.param("    provides = []", "mine", "it provides [], which is no interface for plugins", id="unhashable"),
        pytest.param("    provides = 'x' * 999", "mine", f"it provides '{'x' * 99}, which", id="a long text"),
        pytest.param(
            "    @property\n    def name(self): raise RuntimeError('no name')",
            "",
            "it cannot be looked at: RuntimeError: no name",
            id="name raises",
        ),
        pytest.param(
            "    @property\n    def name(self): raise SystemExit",
            "",
            "it cannot be looked at: SystemExit",
            id="name exits",
        ),
        pytest.param("    name = 5", "", "its name is no text", id="name is a number"),
        pytest.param("    summary = None", "mine", "its summary is no text", id="summary is nothing"),
        pytest.param(
            "    @property\n    def options(self): raise RuntimeError('none')",
            "mine",
            "it cannot be looked at: RuntimeError: none",
            id="options raise",
        ),
        pytest.param("    options = dict", "mine", "its options are no subclass", id="options of another class"),
        pytest.param(
            "    def __repr__(self): return 'x' * 5000\ndel Declaration.make",
            "mine",
            f"The object {'x' * 988}…",
            id="endless",
        ),
    ],
)
def test_declarations_that_are_wrong(find: Found, changes: str, name: str, error: str) -> None:
    """Each is told of by its own name if it has one, by that of its variable otherwise."""
    found, [broken] = find(dropped_in=declaration(changes))
    assert found == []
    assert (broken.name, broken.named) == (name or "variable", bool(name))
    assert broken.error.startswith(error)


def test_everything_else_is_found(find: Found) -> None:
    texts = {"a": "import sys; sys.exit(1)", "b": declaration(""), "c": declaration("    provides = []")}
    found, broken = find(**texts)
    assert found == ["mine"]
    assert [each.name for each in broken] == ["a", "mine"]


def test_the_operator_ends_it(find: Found) -> None:
    with pytest.raises(KeyboardInterrupt):
        find(dropped_in="raise KeyboardInterrupt")


def test_a_name_that_is_none_may_be_that_of_what_is_broken() -> None:
    catalogue = Catalogue(
        discover().found,
        [
            Broken("acme_tools", "/opt/acme_tools.py", "SyntaxError: invalid syntax", named=False),
            Broken("acme", "/opt/acme.py", "its name is no text", named=False),
            Broken("twin", "/opt/twin.py", "there is one already"),
        ],
    )
    with pytest.raises(UnknownPlugin) as caught:
        catalogue.get(IRoutingStrategy, "acme")
    assert str(caught.value).startswith('the name of a routing plugin ("')
    assert str(caught.value).endswith(
        "\"; plugin 'acme' (/opt/acme.py) cannot be used: its name is no text"
        "; what is in 'acme_tools' (/opt/acme_tools.py) is not known: SyntaxError: invalid syntax)"
    )


def test_an_error_names_some_broken_ones_and_counts_the_others() -> None:
    broken = [Broken(f"m{number}", f"/opt/m{number}.py", "x" * 1000, named=False) for number in range(9)]
    with pytest.raises(UnknownPlugin) as caught:
        Catalogue([], broken).get(INodeSelector, "acme")
    text = str(caught.value)
    assert text.endswith("; 4 more are broken, see `trabbits plugins list`)")
    assert ("/opt/m4.py" in text, "/opt/m5.py" in text) == (True, False)
    assert len(text) < 2000
