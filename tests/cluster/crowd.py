"""Clients of a proxy in front of a cluster: where they are, and whether they work.

Where a client's link is, the proxy's log tells; how many connections a node has, the kernel.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from pamqp import commands

from tests.contract.target import HOST
from trabbits.testing.cluster import RabbitCluster
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

#: Seconds that a busy machine may be late.
SLACK = 3.0
#: Seconds within which a client is served whose way to a node is free: below the upstream's timeout of those tests.
PROMPTLY = 1.5

#: A state of /proc/net/tcp.
ESTABLISHED = "01"


def upstream(cluster: RabbitCluster, **options: Any) -> dict[str, Any]:
    """The whole cluster as one upstream."""
    return {"name": "main", "cluster": {"nodes": cluster.addresses}, **options}


def health_check(**options: Any) -> dict[str, Any]:
    """A section that checks often."""
    usual = {"interval": "500ms", "timeout": "2s", "recovery_interval": "1s", "unhealthy_threshold": 3}
    return {"username": "guest", "password": "guest", **usual, **options}


def connect(proxy: TrabbitsProcess, heartbeat: int = 0) -> RawClient:
    """An open connection."""
    return RawClient.open(HOST, proxy.port, heartbeat=heartbeat, timeout=20)


def connect_many(proxy: TrabbitsProcess, number: int, heartbeat: int = 0) -> list[RawClient]:
    """Open connections, many at a time."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: connect(proxy, heartbeat), range(number)))


def seconds_for(step: Callable[[], Any]) -> float:
    """How long the step takes."""
    begun = time.monotonic()
    step()
    return time.monotonic() - begun


def node_of(proxy: TrabbitsProcess, client: RawClient, name: str = "main") -> str:
    """The address of the node at which the client's link to the upstream `name` was opened last."""
    host, port = client.sock.getsockname()
    connected = proxy.wait_for_log(event="client_connected", address=f"{host}:{port}")
    opened = eventually(
        lambda: proxy.find_logs(event="link_opened", session=connected["session"], upstream=name), 5, "a link"
    )
    return str(opened[-1]["node"])


def at_node(proxy: TrabbitsProcess, clients: Sequence[RawClient], node: RabbitNode) -> list[RawClient]:
    """Those of the clients whose link is at this node."""
    return [client for client in clients if node_of(proxy, client) == node.address]


def works(client: RawClient, channel: int = 1) -> bool:
    """Publishes a message that goes nowhere and gets it confirmed."""
    client.open_channel(channel)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk, channel)
    client.publish("", "nowhere", b"hello", channel=channel)
    client.expect(commands.Basic.Ack, channel)
    client.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk, channel)
    return True


def expect_lost(client: RawClient, node: RabbitNode) -> None:
    """The client is told 320, and by whose fault."""
    close = client.expect(commands.Connection.Close)
    assert close.reply_code == 320
    assert "upstream 'main'" in close.reply_text
    assert node.address in close.reply_text
    client.send(commands.Connection.CloseOk())
    client.expect_socket_closed()
    client.close()


def close_all(clients: Sequence[RawClient]) -> None:
    """All leave politely."""
    for client in clients:
        client.close_politely()


def connections_at(node: RabbitNode) -> int:
    """How many TCP connections to the node's port are open at both ends, as the kernel sees it."""
    here = f"{node.port:04X}"
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table.readlines()[1:]]
    ours = {(line[1], line[2]) for line in lines if line[3] == ESTABLISHED}
    return sum(local.endswith(f":{here}") and (remote, local) in ours for local, remote in ours)


def spread_of(nodes: Sequence[RabbitNode]) -> list[int]:
    """How many connections each of the nodes has."""
    return [connections_at(node) for node in nodes]


def moment(entry: dict[str, Any]) -> float:
    """When a line was logged, in seconds since 1970."""
    return datetime.fromisoformat(entry["time"]).timestamp()


def pauses(entries: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds between lines that follow each other."""
    moments = [moment(entry) for entry in entries]
    return [after - before for before, after in itertools.pairwise(moments)]
