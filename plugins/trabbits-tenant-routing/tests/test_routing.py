"""Where messages go, and which files and options are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from trabbits.interfaces import IMessageRoutingStrategy, MessageProperties
from trabbits.plugins.declaring import PluginContext
from trabbits.testing.contracts import RoutingStrategyTestsMixIn
from trabbits_tenant_routing import TenantOptions, TenantRouting, make, tenant

UPSTREAMS = PluginContext(upstreams=("main", "eu", "us"))


@pytest.fixture
def tenants(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.json"
    path.write_text(json.dumps({"acme": "eu", "globex": "us", "": "us"}))
    return path


def made(tenants: Path, **options: Any) -> TenantRouting:
    return make(TenantOptions(file=str(tenants), **options), UPSTREAMS)


class TestContract(RoutingStrategyTestsMixIn):
    """What trabbits asks of every routing strategy."""

    plugin = tenant
    upstreams = UPSTREAMS.upstreams
    messages = (MessageProperties({"tenant": "acme"}), MessageProperties({"tenant": "nobody"}))

    @pytest.fixture(autouse=True)
    def _reads_a_file(self, tenants: Path) -> None:
        self.options = {"file": str(tenants), "default": "main"}


def test_it_reads_headers(tenants: Path) -> None:
    assert verifyObject(IMessageRoutingStrategy, made(tenants))


@pytest.mark.parametrize(
    ("headers", "upstream"),
    [
        ({"tenant": "acme"}, "eu"),
        ({"tenant": "globex", "other": 1}, "us"),
        ({"tenant": ""}, "us"),
        ({"tenant": "nobody"}, None),
        ({"Tenant": "acme"}, None),
        ({"tenant": ["acme"]}, None),
        ({"tenant": b"\xff"}, None),
        ({"tenant": None}, None),
        ({}, None),
    ],
)
def test_the_header_decides(tenants: Path, headers: dict[str, Any], upstream: str | None) -> None:
    assert made(tenants).route_message("exchange", "key", MessageProperties(headers)) == upstream
    assert made(tenants, default="main").route_message("exchange", "key", MessageProperties(headers)) == (
        upstream or "main"
    )


def test_another_header_may_hold_the_tenant(tenants: Path) -> None:
    strategy = made(tenants, header="customer-id")
    assert strategy.route_message("", "", MessageProperties({"customer-id": "acme", "tenant": "globex"})) == "eu"


def test_without_headers_there_is_only_the_default(tenants: Path) -> None:
    assert made(tenants).route("exchange", "acme") is None
    assert made(tenants, default="main").route("exchange", "acme") == "main"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("[]", "holds no JSON object"),
        ('{"acme": "moon"}', "tenant 'acme' has 'moon', which is no upstream"),
        ('{"acme": null}', "tenant 'acme' has None, which is no upstream"),
        ("[" * 100_000, "is no JSON"),
    ],
    ids=["empty", "list", "unknown", "null", "deep"],
)
def test_a_wrong_file_is_explained(tenants: Path, text: str, why: str) -> None:
    tenants.write_text(text)
    with pytest.raises(ValueError, match=why):
        made(tenants)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        made(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"file": ""},
        {"file": "t.json", "header": 3},
        {"file": "t.json", "interval": 0},
        {"file": "t.json", "interval": float("inf")},
        {"file": "t.json", "default": "moon"},
        {"file": "t.json", "tenant": "acme"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TenantOptions.model_validate(options, context={"upstreams": UPSTREAMS.upstreams})
