"""What `docs/testing` shows works, and the tables there name what there is."""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from trabbits.testing import contracts
from trabbits.testing.broker import faults
from trabbits.testing.client import RecordingClient
from trabbits.testing.processes import reaper
from trabbits.testing.record import Record
from trabbits.testing.running import RunningBroker
from trabbits.testing.trabbits_process import TrabbitsProcess

PAGES = Path(__file__).resolve().parents[2] / "docs" / "testing"


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


@cache
def module_of(name: str) -> Any:
    """All code of a page, as one module; in a file, because descriptions of options are read from there."""
    folder = Path(tempfile.mkdtemp(prefix="trabbits-pages-"))
    reaper.remove_at_end(folder)
    path = folder / f"docs_testing_{name}.py"
    path.write_text("\n\n".join(re.findall(r"^```python\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)))
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def examples_of(name: str) -> list[Any]:
    return [
        pytest.param(value, id=f"{name}: {key}")
        for key, value in vars(module_of(name)).items()
        if key.startswith("test_") and callable(value)
    ]


EXAMPLES = [example for name in ("index", "running", "faults", "client") for example in examples_of(name)]


@pytest.fixture(scope="module")
def shared() -> Any:
    """The fixture of the page on running, by the name that its test asks for it."""
    yield from inspect.unwrap(module_of("running").shared._get_wrapped_function())()


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(example: Any, request: pytest.FixtureRequest) -> None:
    example(**{name: request.getfixturevalue(name) for name in inspect.signature(example).parameters})


class TestTheExampleOfContracts(module_of("contracts").TestByRegion):  # type: ignore[misc]  # made when the tests are
    pass


class TestTheExampleWithAFile(module_of("contracts").TestByRegionFromAFile):  # type: ignore[misc]  # the same
    pass


def public(kind: type[Any]) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("contracts", set(contracts.__all__)),
        ("running", public(RunningBroker) - {"name"}),
        ("client", public(RecordingClient) - {"record", "raw", "timeout"}),
        ("client", public(Record) - {"note_confirm", "confirmed_on"}),
        ("faults", {each.__name__ for each in faults.Fault.__args__}),
    ],
)
def test_everything_is_named(name: str, wanted: set[str]) -> None:
    text = page(name)
    assert {each for each in wanted if not re.search(rf"`[^`]*\b{each}\b[^`]*`", text)} == set()


def test_attributes_of_contracts_are_named() -> None:
    wanted: set[str] = set()
    for name in contracts.__all__:
        wanted |= {each for each in public(getattr(contracts, name)) if not each.startswith("test_")}
    wanted -= {"interface", "answer", "make_context"}
    text = page("contracts")
    assert {each for each in wanted if f"`{each}" not in text} == set()


def test_a_process_has_what_the_page_says() -> None:
    section = page("running").split("### `TrabbitsProcess`")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)(?:\(|`)", section)) - {"TrabbitsProcess", "SIGHUP", "TimeoutError"}
    process = TrabbitsProcess(None)
    assert named - set(dir(process)) == set()
    process.close()
