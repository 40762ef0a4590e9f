"""Documentation, dashboard and alert rules name metrics that exist, and all of them where they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.admin.metrics_doubles import LinkDouble, ProcessDouble, Scraped, SumsDouble, TotalsDouble
from tests.admin.test_metrics import scraped
from trabbits.log_ids import LogId

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "examples" / "grafana" / "trabbits.json"
RULES = ROOT / "examples" / "prometheus" / "trabbits.rules.yml"
PROMETHEUS = ROOT / "examples" / "prometheus" / "prometheus.yml"
#: Words of PromQL and labels that look like metrics to the test.
NAME = re.compile(r"\b(?:trabbits|process|python)_[a-z0-9_]+\b")
LABEL = re.compile(r"(\w+)(?:=|!=|=~|!~)\"([^\"]*)\"")


@pytest.fixture(scope="module")
def page() -> Scraped:
    """A scrape in which every metric has a sample."""
    process = ProcessDouble(
        totals=TotalsDouble(gone=SumsDouble(methods=Counter({0: 1}), errored_methods=Counter({0: 1})))
    )
    process.node("a", "rabbit")
    process.connect(LinkDouble("a"))
    return scraped(process)


def samples(page: Scraped) -> set[str]:
    return {sample.name for family in page.families for sample in family.samples}


def expressions() -> Iterator[str]:
    """Everything that the dashboard and the rules ask Prometheus for."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    for rule in rules():
        yield rule["expr"]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def test_every_metric_is_documented(page: Scraped) -> None:
    """By name, type and labels; and nothing is that does not exist."""
    rows = re.findall(
        r"^\| `((?:trabbits|process|python)_\w+)` \| (\w+) \|(.*?)\| .+ \|$",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    documented = {name: (kind, sorted(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(documented) == len(rows)
    actual = {}
    for name, kind in page.types.items():
        (labels, *_) = page.labels(f"{name}_bucket" if kind == "histogram" else name)
        actual[name] = (kind, sorted(set(labels) - {"le"}))
    assert documented == actual


@pytest.mark.parametrize("expression", list(expressions()))
def test_what_is_asked_for_exists(page: Scraped, expression: str) -> None:
    """Metrics of these names, with labels that they have, and values where these are fixed."""
    names = NAME.findall(re.sub(r'"[^"]*"', '""', expression))
    assert names or expression.startswith("up{")
    assert set(names) <= samples(page)
    for name in set(names):
        known = {key for labels in page.labels(name) for key in labels}
        for labels in re.findall(rf"\b{name}\{{([^}}]*)\}}", expression):
            assert {key for key, _ in LABEL.findall(labels)} <= known | {"job", "instance"}
        values = {value for labels in page.labels(name) for value in labels.values()}
        for key, value in LABEL.findall(expression):
            if key in {"result", "event", "level"}:
                assert set(value.split("|")) <= values
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        known = {key for name in names for labels in page.labels(name) for key in labels}
        assert {each.strip() for each in grouped.split(",")} <= known | {"job", "instance"}


def test_the_dashboard_shows_everything(page: Scraped) -> None:
    """Each of our metrics stands in the dashboard or in a rule, but for a few that are there for other questions."""
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    ours = {name for name in page.types if name.startswith("trabbits_")}
    shown = {name for name in ours if name in asked or f"{name}_bucket" in asked}
    assert ours - shown == {"trabbits_config_info", "trabbits_upstream_isolations_total"}


def test_the_dashboard_is_well_formed() -> None:
    """Panels have ids of their own, overlap nowhere, and take the data source that the reader chooses."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"


def test_rules_are_complete() -> None:
    """Each alert says how bad it is, what it is and what it means; log lines are named by what they are called."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description"} == set(rule["annotations"])
        text = rule["annotations"]["description"]
        for event, log_id in re.findall(r"(\w+) \((TR\d+)\)", text):
            assert LogId[event.upper()].id == log_id


def test_prometheus_scrapes_the_documented_port() -> None:
    config = yaml.safe_load(PROMETHEUS.read_text())
    assert config["rule_files"] == [RULES.name]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "trabbits"
    assert job["static_configs"][0]["targets"] == ["localhost:16692"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (package prometheus) is not installed")
def test_promtool_has_nothing_to_say(page: Scraped) -> None:
    """Prometheus' own tool reads rules and configuration; of the page it minds one name only."""
    for what in (["rules", RULES.name], ["config", PROMETHEUS.name]):
        subprocess.run(["promtool", "check", *what], cwd=RULES.parent, check=True, capture_output=True, timeout=60)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page.text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr + done.stdout == ""
