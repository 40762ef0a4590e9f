"""An AMQP 0-9-1 broker in memory, for trying and testing: `Broker`, and what it is made of and asked with.

Without Twisted, except for ``server.py``, which puts a broker on a port.
"""

from trabbits.testing.broker.broker import Broker
from trabbits.testing.broker.connection import BrokerConnection
from trabbits.testing.broker.errors import Refused
from trabbits.testing.broker.faults import Faults
from trabbits.testing.broker.limits import Limits
from trabbits.testing.broker.permissions import Permissions, User

__all__ = ["Broker", "BrokerConnection", "Faults", "Limits", "Permissions", "Refused", "User"]
