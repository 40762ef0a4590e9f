"""Clients as the admin API shows and steers them, with a running proxy and RabbitMQ behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pika
import pika.exceptions
import pytest

from tests.contract.target import HOST, fan_config, parameters, plain_config, unique
from tests.proxy import ProxyFactory
from trabbits.api_client import ApiClient, ApiError
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

ENTRY = [
    "id",
    "client_address",
    "user",
    "virtual_host",
    "client_banner",
    "connected_at",
    "status",
    "shutdown_reason",
    "total_frames",
    "total_methods",
]


@pytest.fixture
def proxy(trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> TrabbitsProcess:
    return trabbits(fan_config(rabbit_a, rabbit_b))


@pytest.fixture
def api(proxy: TrabbitsProcess) -> ApiClient:
    return ApiClient(socket=str(proxy.api_socket), timeout=20)


@pytest.fixture
def connection(proxy: TrabbitsProcess, vhost: str) -> Iterator[pika.BlockingConnection]:
    opened = pika.BlockingConnection(parameters(proxy, vhost))
    yield opened
    if opened.is_open:
        opened.close()


def test_what_a_listing_and_the_detail_say(
    api: ApiClient, connection: pika.BlockingConnection, vhost: str, proxy: TrabbitsProcess
) -> None:
    channel = connection.channel()
    channel.confirm_delivery()
    queue = unique("api")
    channel.queue_declare(queue)
    for _ in range(3):
        channel.basic_publish("", queue, b"x")
    channel.basic_consume(queue, lambda *_: None)
    connection.process_data_events(1)

    (entry,) = api.get("/clients")
    assert list(entry) == ENTRY
    assert entry["id"].startswith("proxy-")
    assert entry["client_address"].startswith("127.0.0.1:")
    assert (entry["user"], entry["virtual_host"]) == ("guest", vhost)
    assert entry["client_banner"] == f"Python {_python()}/Pika Python Client Library/{pika.__version__}"
    assert abs(time.time() - datetime.fromisoformat(entry["connected_at"]).timestamp()) < 30
    assert (entry["status"], entry["shutdown_reason"]) == ("active", "")

    detail = api.get(f"/clients/{entry['id']}")
    assert list(detail)[: len(ENTRY)] == ENTRY
    assert detail["client_properties"]["product"] == "Pika Python Client Library"
    assert detail["client_properties"]["capabilities"]["basic.nack"] is True
    stats = detail["stats"]
    assert stats["methods"]["Basic.Publish"] == 3
    assert stats["methods"]["Queue.DeclareOk"] == 1
    assert stats["methods"]["Basic.Deliver"] == 3
    assert stats["total_methods"] == sum(stats["methods"].values())
    assert stats["received_frames"] + stats["sent_frames"] == stats["total_frames"]
    assert stats["started_at"] == entry["connected_at"]
    assert 0 < stats["duration"] < 60
    assert (detail["channels"], detail["consumers"]) == (1, 1)
    assert detail["config_hash"] == api.request("GET", "/config").headers["etag"].strip('"')
    links = {link["upstream"]: link for link in detail["links"]}
    assert list(links) == ["a", "b"]
    assert {link["blocked"] for link in links.values()} == {False}
    assert sum(link["unacknowledged"] for link in links.values()) == 3
    assert sum(link["unconfirmed"] for link in links.values()) == 0

    upstreams = api.get("/upstreams")
    assert [upstream["name"] for upstream in upstreams] == ["a", "b"]
    assert sum(upstream["unacknowledged"] for upstream in upstreams) == 3
    assert sum(upstream["publishes"] for upstream in upstreams) == 3
    assert sum(upstream["deliveries"] for upstream in upstreams) == 3
    assert [upstream["nodes"][0]["links"] for upstream in upstreams] == [1, 1]

    connection.close()
    eventually(lambda: api.get("/clients") == [])
    after = api.get("/upstreams")
    assert sum(upstream["publishes"] for upstream in after) == 3
    assert sum(upstream["unacknowledged"] for upstream in after) == 0


def _python() -> str:
    import platform

    return platform.python_version()


def test_filter_sort_and_pages(api: ApiClient, proxy: TrabbitsProcess, vhost: str) -> None:
    opened = []
    for number in range(5):
        wanted = parameters(proxy, vhost)
        wanted.client_properties = {"product": f"Product-{number % 2}", "platform": "P", "version": str(number)}
        opened.append(pika.BlockingConnection(wanted))
        for _ in range(5 - number):
            opened[-1].channel()

    def banners(**query: Any) -> tuple[list[str], int]:
        answer = api.request("GET", "/clients", query=query)
        return [entry["client_banner"].rpartition("/")[2] for entry in answer.content], answer.total

    try:
        assert banners() == (["0", "1", "2", "3", "4"], 5)
        assert banners(limit=2, offset=1) == (["1", "2"], 5)
        assert banners(offset=9) == ([], 5)
        assert banners(sort="total_methods") == (["4", "3", "2", "1", "0"], 5)
        assert banners(sort="-client_banner") == (["3", "1", "4", "2", "0"], 5)
        assert banners(q="product-1") == (["1", "3"], 2)
        assert banners(q="product-1", limit=1, sort="-connected_at") == (["3"], 2)
        assert banners(q=vhost.upper())[1] == 5
        assert banners(q="nobody") == ([], 0)
    finally:
        for each in opened:
            each.close()


def test_one_client_is_shut_down(
    api: ApiClient, proxy: TrabbitsProcess, connection: pika.BlockingConnection, vhost: str
) -> None:
    """... with the reason, and no other one."""
    other = pika.BlockingConnection(parameters(proxy, vhost))
    first, second = [entry["id"] for entry in api.get("/clients")]
    answer = api.request("DELETE", f"/clients/{first}", query={"reason": "on vacation – ä"})
    assert answer.status == 202
    assert answer.content == {"status": "shutdown_initiated", "proxy_id": first, "reason": "on vacation – ä"}
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        connection.process_data_events(5)
    assert (closed.value.reply_code, closed.value.reply_text) == (320, "CONNECTION_FORCED - on vacation – ä")
    assert proxy.wait_for_log(event="api_shutdown")["client"] == first
    eventually(lambda: [entry["id"] for entry in api.get("/clients")] == [second])
    with pytest.raises(ApiError, match=first):
        api.delete(f"/clients/{first}")
    assert api.delete(f"/clients/{second}")["reason"] == "Closed by an administrator"
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="Closed by an administrator"):
        other.process_data_events(5)


def test_a_client_on_its_way_out(trabbits: ProxyFactory, rabbit_a: RabbitNode, vhost: str) -> None:
    """... is still listed, with the reason; to shut it down again changes nothing."""
    proxy = trabbits(plain_config(rabbit_a, connection_close_timeout="30s"))
    api = ApiClient(socket=str(proxy.api_socket), timeout=20)
    client = RawClient.open(HOST, proxy.port, vhost=vhost)
    try:
        (entry,) = api.get("/clients")
        api.delete(f"/clients/{entry['id']}", reason="first")
        (leaving,) = api.get("/clients")
        assert (leaving["status"], leaving["shutdown_reason"]) == ("shutting_down", "first")
        assert api.delete(f"/clients/{entry['id']}", reason="second")["reason"] == "first"
    finally:
        client.sock.close()
    eventually(lambda: api.get("/clients") == [])


# The probe


def test_the_probe_shows_what_was_what_is_and_the_end(
    api: ApiClient, connection: pika.BlockingConnection, proxy: TrabbitsProcess
) -> None:
    queue = unique("probe")
    channel = connection.channel()
    channel.queue_declare(queue)
    (entry,) = api.get("/clients")
    path = f"/clients/{entry['id']}/probe"
    with api.stream(path) as events:
        seen: list[dict[str, Any]] = []
        while "Queue.DeclareOk" not in [event["method"] for event in seen if event["direction"] == "t→c"]:
            seen.append(next(events))
        start_ok = next(event for event in seen if event["method"] == "Connection.StartOk")
        assert "guest" not in str(start_ok["arguments"])
        declare = next(event for event in seen if event["method"] == "Queue.Declare")
        assert list(declare) == ["type", "time", "direction", "upstream", "channel", "method", "arguments"]
        assert (declare["type"], declare["direction"], declare["channel"]) == ("method", "c→t", 1)
        assert declare["arguments"]["queue"] == queue
        assert declare["time"].endswith("Z")
        assert datetime.fromisoformat(declare["time"]).tzinfo == UTC
        assert {event["upstream"] for event in seen if event["direction"] == "t→u"} >= {"a", "b"}

        channel.basic_publish("", queue, b"secret body")
        live: list[dict[str, Any]] = []
        while not live or live[-1]["method"] != "Basic.Publish" or live[-1]["direction"] != "t→u":
            live.append(next(events))
        assert "secret body" not in str(live)
        connection.close()
        rest = list(events)
        assert rest[-1] == {"type": "proxy_ended"}
        assert [event["method"] for event in rest if event.get("direction") == "c→t"] == [
            "Channel.Close",
            "Connection.Close",
        ]
    # Whoever comes later gets what is retained.
    with api.stream(path) as events:
        late = list(events)
    assert late[-1] == {"type": "proxy_ended"}
    assert [event["method"] for event in late[:-1]].count("Basic.Publish") == 2
    assert "guest" not in str([event for event in late if event.get("method") == "Connection.StartOk"])


def test_a_client_with_a_probe_that_is_not_read_goes_on(
    api: ApiClient, connection: pika.BlockingConnection, proxy: TrabbitsProcess
) -> None:
    """What the reader does not take is dropped, counted, and told; the end comes nevertheless."""
    (entry,) = api.get("/clients")
    channel = connection.channel()
    queue = unique("probe")
    channel.queue_declare(queue)
    with api.stream(f"/clients/{entry['id']}/probe") as events:
        assert next(events)["type"] == "method"
        for _ in range(20_000):
            channel.basic_publish("", queue, b"", pika.BasicProperties(headers={"filler": "x" * 100}))
        connection.close()
        rest = list(events)
    assert rest[-1] == {"type": "proxy_ended"}
    dropped = sum(event["count"] for event in rest if event["type"] == "dropped")
    assert dropped > 0
    shown = sum(event.get("method") == "Basic.Publish" for event in rest)
    assert shown + dropped > 40_000


def test_a_probe_that_goes_away_leaves_nothing(api: ApiClient, connection: pika.BlockingConnection) -> None:
    (entry,) = api.get("/clients")
    for _ in range(150):
        with api.stream(f"/clients/{entry['id']}/probe") as events:
            next(events)
    connection.channel().close()
    assert api.get(f"/clients/{entry['id']}")["channels"] == 0
