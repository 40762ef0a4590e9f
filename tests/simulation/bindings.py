"""Exchanges and bindings that clients ask for, and what each upstream has to get of them.

Lives here: `Rewriting`, the rewriter of some upstreams, and `meant` and `wanted`, which say the same without it.
Must not know: trabbits' own state, clients.
"""

from __future__ import annotations

import re
from typing import Any, Final

from zope.interface import implementer

from tests.simulation.codec import Exchange, Queue
from trabbits.interfaces import (
    Binding,
    BindingAttributes,
    ExchangeAttributes,
    ExchangeDeclare,
    ITopologyRewriter,
    QueueAttributes,
    QueueDeclare,
)

#: Methods that rewriters may be asked about.
METHODS: Final = (Exchange.Declare, Exchange.Bind, Exchange.Unbind, Queue.Bind, Queue.Unbind)
#: What clients call a queue that they let the server name, until they know its name.
GENERATED: Final = "generated"
_GENERATED: Final = re.compile("trabbits[.]gen-[0-9a-f]+")


@implementer(ITopologyRewriter)
class Rewriting:
    """What an upstream gets that has other exchanges and bindings."""

    def __init__(self, name: str) -> None:
        self._name = name

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        return QueueAttributes()

    def rewrite_exchange(self, declare: ExchangeDeclare) -> ExchangeAttributes:
        return ExchangeAttributes(type="direct", arguments={"at": self._name})

    def rewrite_binding(self, binding: Binding) -> BindingAttributes:
        key = f"{self._name}>{binding.destination}>{binding.routing_key}"
        return BindingAttributes(routing_key=key, arguments={"at": self._name})


def meant(method: Any, last_queue: str) -> dict[str, Any]:
    """The fields of one of `METHODS`, as a broker understands them that knows the queue declared last."""
    fields = {"method": method.name, **dict(method)}
    del fields["ticket"]
    if isinstance(method, Queue.Bind | Queue.Unbind) and not fields["queue"]:
        fields["queue"] = last_queue
        fields["routing_key"] = fields["routing_key"] or last_queue
    return fields


def wanted(name: str, asked: dict[str, Any], *, rewritten: bool) -> dict[str, Any]:
    """What an upstream has to get of what a client asked for."""
    if not rewritten:
        return asked
    changes: dict[str, Any] = {"arguments": {**asked["arguments"], "at": name}}
    if "routing_key" not in asked:
        return {**asked, **changes, "exchange_type": "direct"}
    destination = asked["queue"] if "queue" in asked else asked["destination"]
    return {**asked, **changes, "routing_key": f"{name}>{destination}>{asked['routing_key']}"}


def as_clients_say(fields: dict[str, Any], prefix: str) -> dict[str, Any]:
    """What an upstream got, with the names that clients have; `prefix` is what its own begin with."""
    shown = {
        key: _GENERATED.sub(GENERATED, value) if isinstance(value, str) else value for key, value in fields.items()
    }
    if "queue" in shown:
        shown["queue"] = shown["queue"].removeprefix(prefix)
    return shown
