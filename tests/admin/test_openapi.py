"""The description of the admin API is true: it names exactly the calls there are, and a running server answers so.

Covered: every call with schemathesis' examples, over TCP, with and without the token.  Not covered: what streams hold.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.proxy import ProxyFactory
from trabbits.admin.app import Api
from trabbits.admin.openapi import document
from trabbits.api_client import ApiClient

TOKEN = "t0p-secret"
#: Examples of each call; the most of them are turned down, and that takes hardly any time.
EXAMPLES = 25


def routes() -> set[tuple[str, str]]:
    """Method and path of each call."""
    found = set()
    for rule in Api.app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        found |= {(method.lower(), path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    return found


def test_the_document_names_exactly_the_calls_there_are() -> None:
    described = {
        (method, path) for path, item in document()["paths"].items() for method in item if method != "parameters"
    }
    assert described == routes()


def test_every_call_has_a_name_of_its_own_and_its_errors() -> None:
    calls = [call for item in document()["paths"].values() for method, call in item.items() if method != "parameters"]
    names = [call["operationId"] for call in calls]
    assert len(names) == len(set(names))
    for call in calls:
        assert {"400", "401", "500"} < set(call["responses"])


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    referred = set(re.findall(r"#/components/schemas/(\w+)", str(document())))
    # What streams hold is not in an answer's schema, but named in its description.
    assert referred | {"ProbeEvent", "LogLine"} == set(schemas)


def test_the_documentation_names_every_call() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "admin-api.md").read_text()
    for method, path in routes():
        assert f"`{method.upper()} {path}`" in text, (method, path)


def test_a_running_server_answers_as_described(trabbits: ProxyFactory, tmp_path: Path) -> None:
    """schemathesis: generated requests, right and wrong ones; statuses, types and shapes of the answers."""
    proxy = trabbits(
        {"upstreams": [{"name": "far", "address": "[::1]:1"}], "admin": {"listen": "127.0.0.1:0", "token": TOKEN}}
    )
    where = proxy.wait_for_log(event="api_listening", address=lambda address: address.startswith("http"))["address"]
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{where}/openapi.json",
        *("--header", f"Authorization: Bearer {TOKEN}"),
        *("--max-examples", str(EXAMPLES), "--seed", "1", "--request-timeout", "10", "--no-color"),
        # The streams do not end by themselves; tests of their own follow them.
        *("--exclude-path", "/logs", "--exclude-path", "/clients/{id}/probe"),
        *("--phases", "examples,coverage,fuzzing"),
        *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
        *("--checks", "response_headers_conformance,response_schema_conformance,unsupported_method,ignored_auth"),
        *("--generation-database", "none"),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert not proxy.find_logs(level="critical")
    assert ApiClient(url=where, token=TOKEN).get("/health/live") == {"status": "live"}
