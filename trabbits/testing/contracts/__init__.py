"""Contract tests for plugins: what trabbits expects of each kind, as classes to mix into one's own tests.

Lives here: nothing but the names; each kind of plugin has a module of its own.
Must not know: pytest, or which plugins there are.
"""

from trabbits.testing.contracts.mechanisms import AuthMechanismTestsMixIn
from trabbits.testing.contracts.plugin import PluginTestsMixIn
from trabbits.testing.contracts.policies import ConnectionPolicyTestsMixIn
from trabbits.testing.contracts.rewriters import QueueAttributeRewriterTestsMixIn, QueueRenamerTestsMixIn
from trabbits.testing.contracts.routing import RoutingStrategyTestsMixIn
from trabbits.testing.contracts.selectors import NodeSelectorTestsMixIn
from trabbits.testing.contracts.topology import TopologyRewriterTestsMixIn

__all__ = [
    "AuthMechanismTestsMixIn",
    "ConnectionPolicyTestsMixIn",
    "NodeSelectorTestsMixIn",
    "PluginTestsMixIn",
    "QueueAttributeRewriterTestsMixIn",
    "QueueRenamerTestsMixIn",
    "RoutingStrategyTestsMixIn",
    "TopologyRewriterTestsMixIn",
]
