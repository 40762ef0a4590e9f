"""Every built-in connection policy keeps to the contract of its kind."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from tests.plugins.contracts import untested
from tests.plugins.policies import visitor
from trabbits.interfaces import IConnectionPolicy
from trabbits.plugins.connection_rate import connection_rate
from trabbits.plugins.data_rate import data_rate
from trabbits.plugins.http_auth import http_auth
from trabbits.plugins.max_connections import max_connections
from trabbits.testing.contracts import ConnectionPolicyTestsMixIn


class Admitting(ConnectionPolicyTestsMixIn):
    visitors = (visitor("guest", "/"), visitor("ann", "/one", product="pika"))


class TestMaxConnections(Admitting):
    plugin = max_connections
    options = {"total": 30, "per_virtual_host": 12, "users": {"ann": 5}}


class TestConnectionRate(Admitting):
    plugin = connection_rate
    options = {"rate": 7.5, "burst": 10, "virtual_hosts": {"/one": {"rate": 2.0}}}


class TestConnectionRateThatOnlyWarns(Admitting):
    plugin = connection_rate
    options = {"rate": 1.0, "alarm_only": True}


class TestDataRate(Admitting):
    plugin = data_rate
    options = {"per_session": 10_000, "virtual_hosts": {"/one": 50_000}}


class TestDataRateThatOnlyWarns(Admitting):
    plugin = data_rate
    options = {"per_virtual_host": 1000, "alarm_only": True}


class Answers:
    """A service that lets clients in after a while."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def post(self, *_: Any, **__: Any) -> Deferred[Any]:
        return deferLater(self._reactor, 0.05, Answer)


class Answer:
    code = 200

    def deliverBody(self, body: Any) -> None:
        body.connectionLost(Failure(ResponseDone()))


class TestHttpAuth(Admitting):
    plugin = http_auth
    options = {"url": "http://auth.example/ask", "token": "s3cr3t-token", "timeout": 2.0, "connections": 2}

    def make_plugin(self, reactor: Any = None) -> Any:
        policy = super().make_plugin(reactor)
        policy._client = Answers(reactor)
        return policy


def test_none_is_left_out() -> None:
    assert untested(IConnectionPolicy, Admitting) == set()
