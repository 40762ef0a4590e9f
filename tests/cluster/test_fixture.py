"""The cluster itself: three nodes that know each other, also after one of them has died."""

from __future__ import annotations

from tests.contract.target import Witness, unique
from trabbits.testing.cluster import RabbitCluster


def test_a_queue_of_one_node_is_there_at_all(cluster: RabbitCluster) -> None:
    """One cluster, not three brokers; a node that was killed belongs to it again when it is healed."""
    names = {node.name for node in cluster.nodes}
    assert cluster.running == names
    victim = cluster.nodes[2]
    victim.kill()
    cluster.nodes[0].pause()
    cluster.heal()
    assert cluster.running == names

    queue = unique("everywhere")
    witnesses = [Witness(node) for node in cluster.nodes]
    with witnesses[0].channel() as channel:
        channel.queue_declare(queue, exclusive=True)
        assert all(witness.has_queue(queue) for witness in witnesses)
    for witness in witnesses:
        witness.close()
