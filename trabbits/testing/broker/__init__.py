"""An AMQP 0-9-1 broker in memory, for trying and testing: `Broker`, and what it is made of and asked with.

Without Twisted, except for ``server.py``, which puts a broker on a port.
"""

from trabbits.testing.broker.broker import Broker
from trabbits.testing.broker.connection import BrokerConnection
from trabbits.testing.broker.errors import Refused
from trabbits.testing.broker.fault_plan import Faults
from trabbits.testing.broker.faults import (
    CloseChannel,
    CloseConnection,
    Delay,
    Drop,
    HalfOpen,
    SlowReading,
    from_client,
    to_client,
)
from trabbits.testing.broker.limits import Limits
from trabbits.testing.broker.permissions import Permissions, User

__all__ = [
    "Broker",
    "BrokerConnection",
    "CloseChannel",
    "CloseConnection",
    "Delay",
    "Drop",
    "Faults",
    "HalfOpen",
    "Limits",
    "Permissions",
    "Refused",
    "SlowReading",
    "User",
    "from_client",
    "to_client",
]
