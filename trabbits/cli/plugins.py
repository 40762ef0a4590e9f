"""``trabbits plugins``: which plugins there are, and whether they are sound.

Lives here: the commands and what they print.  Must not know: how plugins are found (``trabbits.plugins.catalogue``) or
checked (``trabbits.plugins.checking``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from trabbits.cli.terminal import clean, complain, echo, echo_all, to_json

if TYPE_CHECKING:
    from trabbits.cli.plugin_use import Uses
    from trabbits.plugins.catalogue import Broken, Found
    from trabbits.plugins.checking import Checked

_config = click.option(
    "--config",
    "file",
    metavar="FILE",
    envvar="TRABBITS_CONFIG",
    show_envvar=True,
    help="Tell which of them this configuration uses.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, with the JSON Schemas of all options.")


@click.group()
def plugins() -> None:
    """See which plugins there are, and check them."""


@plugins.command("list")
@_config
@_json
def list_plugins(file: str | None, as_json: bool) -> None:
    """List every plugin that is found, the built-in ones and those of others.

    Each with its kind, its name, where it comes from, its options, and where the configuration uses it.  Those that
    cannot be used are listed with what is wrong with them.  The exit status is 0, or 2 if the configuration is wrong.
    """
    from trabbits.failures import error_text
    from trabbits.plugins.catalogue import discover
    from trabbits.plugins.checking import schema_of

    catalogue = discover()
    uses = _uses(file)
    entries, broken = [], [_broken(each) for each in catalogue.broken]
    for found in sorted(catalogue.found, key=_order):
        try:
            schema = schema_of(found)
        except Exception as error:  # somebody else's code
            broken.append(_entry(found, uses) | {"error": f"its options cannot be described: {error_text(error)}"})
        else:
            entries.append(_entry(found, uses) | {"options": schema})
    if as_json:
        echo(to_json({"plugins": entries, "broken": broken}))
    else:
        echo_all(_blocks(entries, broken))
    if uses is not None and uses.error:
        complain(uses.error)
        sys.exit(2)


@plugins.command()
@_config
@_json
def check(file: str | None, as_json: bool) -> None:
    """Check every plugin that is found.

    Each is made with default options, if it can be, and what comes of it is compared with its interface; so are those
    that the configuration uses, with its options.  One that can be made neither way is not verified.  Nothing is
    started and nothing connected to.

    The exit status is 0 if nothing is wrong with any, 1 if one is broken, and 2 if the configuration is wrong.
    """
    from trabbits.plugins.catalogue import discover
    from trabbits.plugins.checking import check as check_one
    from trabbits.plugins.declaring import PluginContext

    catalogue = discover()
    uses = _uses(file)
    context = uses.context if uses is not None else PluginContext()
    rows = []
    for found in sorted(catalogue.found, key=_order):
        result = check_one(found, catalogue, context)
        if uses is not None and not result.problem:
            result = uses.check(found, catalogue) or result
        rows.append((found, result))
    bad = len(catalogue.broken) + sum(bool(result.problem) for _, result in rows)
    if as_json:
        sound = [
            _entry(found, uses) | {"sound": _sound(result), "error": result.problem, "untried": result.untried}
            for found, result in rows
        ]
        echo(to_json({"plugins": sound, "broken": [_broken(each) for each in catalogue.broken]}))
    else:
        echo_all(_verdicts(rows, catalogue.broken))
    if uses is not None and uses.error:
        complain(uses.error)
        sys.exit(2)
    if bad:
        complain("1 plugin is not sound" if bad == 1 else f"{bad} plugins are not sound")
        sys.exit(1)


def _uses(file: str | None) -> Uses | None:
    if file is None:
        return None
    from trabbits.cli.plugin_use import uses_of

    return uses_of(file)


def _order(found: Found) -> tuple[int, str]:
    from trabbits.plugins.catalogue import KINDS

    return list(KINDS.values()).index(found.kind), found.name


def _entry(found: Found, uses: Uses | None) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "interface": found.declaration.provides.__identifier__,
        "name": found.name,
        "summary": found.declaration.summary,
        "origin": found.origin,
        "used": None if uses is None or uses.error else list(uses.places(found)),
    }


def _sound(result: Checked) -> bool | None:
    """Whether it is; None where nobody could see."""
    if result.problem:
        return False
    return None if result.untried else True


def _broken(broken: Broken) -> dict[str, Any]:
    return {"name": broken.name, "origin": broken.origin, "error": broken.error}


def _blocks(entries: Sequence[Mapping[str, Any]], broken: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    from trabbits.plugins.checking import option_rows

    for number, entry in enumerate(entries):
        if number:
            yield ""
        yield f"{clean(entry['kind'])} {click.style(clean(entry['name']), bold=True)}"
        if entry["summary"]:
            yield f"  {clean(entry['summary'])}"
        yield f"  provides {clean(entry['interface'])}"
        yield f"  from {clean(entry['origin'])}"
        if entry["used"] is not None:
            places = ", ".join(map(clean, entry["used"]))
            yield click.style(f"  used by {places}", fg="green") if places else "  not used"
        for row in option_rows(entry["options"]):
            value = f", default {row.default}" if row.default else ", required"
            indent, word = "  " * (row.depth + 1), "key" if row.depth else "option"
            yield f"{indent}{word} {clean(row.key)}: {clean(row.type)}{clean(value)}"
            if row.description:
                yield f"{indent}  {clean(row.description)}"
    for each in broken:
        yield ""
        yield f"{click.style('broken', fg='red')} {click.style(clean(each['name']), bold=True)}"
        yield f"  from {clean(each['origin'])}"
        yield f"  {clean(each['error'])}"


def _verdicts(rows: Sequence[tuple[Found, Checked]], broken: Sequence[Broken]) -> Iterator[str]:
    for found, result in rows:
        who = f"{found.kind} {clean(found.name)}"
        if result.problem:
            yield f"{click.style('broken', fg='red')} {who} ({clean(found.origin)}): {clean(result.problem)}"
        elif result.untried:
            yield f"{click.style('not verified', fg='yellow')} {who} ({clean(result.untried)})"
        else:
            yield f"{click.style('ok', fg='green')} {who}"
    for each in broken:
        yield f"{click.style('broken', fg='red')} {clean(each.name)} ({clean(each.origin)}): {clean(each.error)}"
