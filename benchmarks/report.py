"""The report: machine facts, one table per scenario, the goals with PASS or FAIL; as Markdown and as JSON.

What lives here: turning figures into text. What it must not know: how anything was measured.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, define, field, frozen

from benchmarks.figures import GOALS, Goal, Pick, Round, added, added_ratio, figure, quiet, ratio, spread

BEGIN = "<!-- measured: begin. Written by `bench.py --markdown`; do not edit. -->"
END = "<!-- measured: end -->"


@frozen
class Scenario:
    """One kind of load, for `weight` times as long as the plan says.

    `connections` 0 means streaming, with a reader that is woken at `low_water` octets; with `headers`, of messages that
    carry some.  `targets` are what it is about.
    """

    name: str
    title: str
    size: int
    connections: int = 0
    low_water: int = 1
    weight: float = 1.0
    headers: bool = False
    targets: Sequence[str] = ("direct", "haproxy", "plain", "unobserved", "fan")


@define
class Results:
    """Everything measured: the rounds by scenario, what failed or was missing, facts about the machine."""

    facts: dict[str, str]
    titles: dict[str, str]
    """What a target is called in a table, by name, in the order of the rows."""
    rounds: dict[str, list[Round]] = field(factory=dict)
    notes: list[str] = field(factory=list)


@frozen
class Column:
    """One column: its heading, the value of a target in a round, and the format of the median."""

    heading: str
    pick_for: Callable[[str], Pick]
    form: str


def plain_column(heading: str, name: str, form: str) -> Column:
    """A column that shows one figure as it is."""
    return Column(heading, lambda target: figure(target, name), form)


CPU_COLUMNS = (
    plain_column("proxy CPU µs", "proxy", "{:.2f}"),
    Column("x HAProxy", lambda target: ratio("proxy", target, "haproxy"), "{:.2f}"),
    plain_column("broker CPU µs", "brokers", "{:.2f}"),
    plain_column("generator CPU µs", "generator", "{:.2f}"),
    plain_column("of a core", "generator_share", "{:.0%}"),
)
STREAM_COLUMNS = (
    plain_column("messages/s", "rate", "{:,.0f}"),
    Column("of direct", lambda target: ratio("rate", target, "direct"), "{:.2f}"),
    *CPU_COLUMNS,
)
TRIP_COLUMNS = (
    plain_column("trips/s", "rate", "{:,.0f}"),
    plain_column("p50 µs", "p50", "{:.0f}"),
    plain_column("p99 µs", "p99", "{:.0f}"),
    Column("p50 added µs", added, "{:.1f}"),
    Column("x HAProxy", lambda target: added_ratio(target, "haproxy"), "{:.2f}"),
    *CPU_COLUMNS,
)


def machine_facts(rabbitmq: str, haproxy: str) -> dict[str, str]:
    """What a reader needs to know about where this was measured."""
    return {
        "machine": f"{os.cpu_count()} cores, {cpu_model()}, Linux {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "RabbitMQ": rabbitmq,
        "HAProxy": haproxy,
    }


def cpu_model() -> str:
    """The processor's name as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def render(results: Results, scenarios: Sequence[Scenario]) -> str:
    """The whole report as Markdown that reads well as plain text."""
    lines = [f"- {name}: {value}" for name, value in results.facts.items()]
    lines += ["", "### Goals", "", *render_goals(results)]
    for scenario in scenarios:
        if scenario.name in results.rounds:
            lines += ["", f"### {scenario.title}", "", *render_scenario(results, scenario)]
    if results.notes:
        lines += ["", "### Not measured", "", *(f"- {note}" for note in results.notes)]
    return "\n".join(lines) + "\n"


def render_goals(results: Results) -> list[str]:
    """The table of goals."""
    rows = [["goal", "limit", "median", "lowest to highest round", "result"]]
    for goal in GOALS:
        result = judge(results, goal)
        limit = f"{'≥' if goal.at_least else '≤'} {goal.limit:.2f}"
        found = result["ratio"]
        median = f"{found.median:.2f}" if found else "-"
        low_high = f"{found.low:.2f} to {found.high:.2f}" if found else "-"
        rows.append([goal.title, limit, median, low_high, result["result"]])
    return table(rows)


def judge(results: Results, goal: Goal) -> dict[str, Any]:
    """What was measured for a goal and whether it is met."""
    rounds, calm = quiet(results.rounds.get(goal.scenario, []))
    found = spread(map(goal.pick, rounds))
    verdict = "not measured"
    if found is not None:
        verdict = ("PASS" if goal.met(found.median) else "FAIL") + ("" if calm else ", noisy machine")
    return {"goal": goal.title, "limit": goal.limit, "ratio": found, "result": verdict}


def render_scenario(results: Results, scenario: Scenario) -> list[str]:
    """One scenario's table and how quiet the machine was."""
    rounds = results.rounds[scenario.name]
    used, _ = quiet(rounds)
    columns = TRIP_COLUMNS if scenario.connections else STREAM_COLUMNS
    rows = [["target", *(each.heading for each in columns)]]
    for target, title in results.titles.items():
        if any(target in each for each in used):
            rows.append([title, *(cell(used, each, target) for each in columns)])
    return [*table(rows), "", noise(rounds, used)]


def cell(rounds: Sequence[Round], shown: Column, target: str) -> str:
    """The median over the rounds, or a dash."""
    found = spread(map(shown.pick_for(target), rounds))
    return "-" if found is None else shown.form.format(found.median)


def noise(rounds: Sequence[Round], used: Sequence[Round]) -> str:
    """How many rounds count, and how much of the machine strangers took in them."""
    found = spread(figures.strangers for each in used for figures in each.values())
    share = "" if found is None else f" Others used {found.median:.0%} of the machine (at most {found.high:.0%})."
    return f"Medians over the rounds; {len(used)} of {len(rounds)} count.{share}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table with aligned columns; the first one to the left, the others to the right."""
    widths = [max(map(len, texts)) for texts in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return lines


def as_json(results: Results) -> dict[str, Any]:
    """Everything for machines: facts, goals, and the figures of every round."""
    rounds = {
        scenario: [{target: asdict(figures) for target, figures in each.items()} for each in found]
        for scenario, found in results.rounds.items()
    }
    goals = [judge(results, goal) for goal in GOALS]
    for goal in goals:
        goal["ratio"] = goal["ratio"] and asdict(goal["ratio"])
    return {"facts": results.facts, "goals": goals, "notes": results.notes, "rounds": rounds}


def insert(path: Path, text: str) -> None:
    """Put the report between the marks of a Markdown file; a file without them is written anew."""
    before, after = "", ""
    if path.exists():
        before, found, rest = path.read_text().partition(BEGIN)
        after = rest.partition(END)[2] if found else ""
        before = before if found else ""
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after or chr(10)}")
