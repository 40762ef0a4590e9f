"""Real RabbitMQ clusters for trials and tests.

What lives here: how nodes of `rabbitmq.py` become one cluster at their first start, and proof that they did.

What it must not know: how a single node is started, Twisted, pytest, the proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trabbits.testing.processes import StartError
from trabbits.testing.rabbitmq import RabbitNode, start_all

#: The nodes boot at the same time.  The first that gets the lock waits for no peer and begins the cluster alone, the
#: others ask for the lock every 100 ms and join.  With RabbitMQ's own numbers the first waits 5 s for peers, and
#: the others up to 8 s for the lock.
FORMATION = {
    "cluster_formation.peer_discovery_backend": "classic_config",
    "cluster_formation.discovery_retry_limit": 1,
    "cluster_formation.discovery_retry_interval": 10,
    "cluster_formation.internal_lock_retries": 1,
    "cluster_formation.lock_retry_limit": 600,
    "cluster_formation.lock_retry_timeout": 100,
}


class RabbitCluster:
    """`size` nodes on 127.0.0.1 that form one cluster; each is a `RabbitNode` and may be stopped, frozen and killed.

    `config` and `plugins` are those of each node.  Usable as a context manager.
    """

    def __init__(
        self,
        size: int = 3,
        name: str = "cluster",
        config: Mapping[str, object] | None = None,
        plugins: Sequence[str] = (),
    ) -> None:
        own = {**FORMATION, **(config or {})}
        self.nodes = tuple(RabbitNode(f"{name}{number}", own, plugins) for number in range(1, size + 1))
        for node in self.nodes:
            for number, member in enumerate(self.nodes, 1):
                node.config[f"cluster_formation.classic_config.nodes.{number}"] = member.name

    @property
    def addresses(self) -> list[str]:
        """`host:port` of each node."""
        return [node.address for node in self.nodes]

    @property
    def running(self) -> set[str]:
        """The names of the nodes that the first node has in its cluster and sees running (takes a second)."""
        return set(re.findall(r"[\w-]+@[\w.-]+", self.nodes[0].ctl("eval", "rabbit_nodes:all_running().")))

    def start(self) -> RabbitCluster:
        """Start the nodes at the same time; StartError when they do not become one cluster."""
        start_all(self.nodes)
        running = self.running
        if running != {node.name for node in self.nodes}:
            logs = "\n".join(f"--- {node.name}\n{node.log[-4000:]}" for node in self.nodes)
            raise StartError(f"the nodes did not form one cluster: {sorted(running)}\n{logs}")
        return self

    def heal(self) -> None:
        """All nodes answer again: frozen ones go on, dead ones are started."""
        for node in self.nodes:
            node.resume()
        start_all([node for node in self.nodes if not node.running])

    def close(self) -> None:
        """End all nodes and remove their data."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> RabbitCluster:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()
