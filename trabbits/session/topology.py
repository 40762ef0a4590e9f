"""Exchanges and bindings that one upstream is asked for differently: the client's methods are changed on the way up.

Lives here: `Topology`, what one link's upstream gets.  The relays ask it before anything is sent.
Must not know: how many links there are, who rewrites.

Names are the client's everywhere here; where queues have other names, the link's edge changes them after this
(``renaming.py``).  Arguments that nobody touches keep their octets, and so does a frame of which nothing changes.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from trabbits.interfaces import Binding, ExchangeDeclare
from trabbits.session.rewriting import TopologyChain
from trabbits.session.unusable import UnusableMethod
from trabbits.wire import constants as amqp
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import SHORT_STRING_MAX
from trabbits.wire.table import override
from trabbits.wire.topology import (
    BINDING_METHODS,
    BindingFields,
    build_binding,
    build_exchange_declare,
    parse_binding,
    parse_exchange_declare,
)

#: What rewriters may be asked about.
TOPOLOGY_METHODS: Final = BINDING_METHODS | {amqp.EXCHANGE_DECLARE}

_OF_QUEUES: Final = frozenset({amqp.QUEUE_BIND, amqp.QUEUE_UNBIND})


class Topology:
    """What one link's upstream is asked for.  `frame_max` is the link's.

    What a rewriter does wrong (`PluginFailed`) is raised on.
    """

    def __init__(self, rewriter: TopologyChain, upstream: str, frame_max: int) -> None:
        self._rewriter = rewriter
        self._at = f"upstream '{upstream}' rewrites exchanges and bindings"
        self._frame_max = frame_max

    def frame_for_link(self, frame: bytes, last_queue: bytes) -> bytes:
        """What goes up for one of `TOPOLOGY_METHODS`; `last_queue` is what an empty name means on the channel.

        Raises `UnusableMethod`, and `Violation` when the frame cannot be read.
        """
        index = int.from_bytes(frame[7:11], "big")
        changed = self._declare(frame) if index == amqp.EXCHANGE_DECLARE else self._binding(frame, last_queue)
        if changed is not frame and len(changed) > self._frame_max:
            raise UnusableMethod(f"{self._at}, and a method of {len(changed)} octets is too large for it")
        return changed

    def _declare(self, frame: bytes) -> bytes:
        fields = parse_exchange_declare(frame)
        if fields.passive:
            return frame
        wanted = self._rewriter.rewrite_exchange(
            ExchangeDeclare(
                exchange=fields.exchange.decode(),
                type=fields.type.decode(),
                durable=fields.durable,
                auto_delete=fields.auto_delete,
                internal=fields.internal,
                arguments=_arguments(frame),
            )
        )
        changed = evolve(
            fields,
            type=fields.type if wanted.type is None else wanted.type.encode(),
            durable=fields.durable if wanted.durable is None else wanted.durable,
            auto_delete=fields.auto_delete if wanted.auto_delete is None else wanted.auto_delete,
            internal=fields.internal if wanted.internal is None else wanted.internal,
            arguments=override(fields.arguments, wanted.arguments),
        )
        return frame if changed == fields else build_exchange_declare(_channel(frame), changed)

    def _binding(self, frame: bytes, last_queue: bytes) -> bytes:
        fields = parse_binding(frame)
        meant = _meant(fields, last_queue)
        if meant is None:
            return frame
        wanted = self._rewriter.rewrite_binding(
            Binding(
                source=meant.source.decode(),
                destination=meant.destination.decode(),
                destination_type="queue" if meant.index in _OF_QUEUES else "exchange",
                routing_key=meant.routing_key.decode(),
                arguments=_arguments(frame),
            ),
            meant.index,
        )
        key = meant.routing_key if wanted.routing_key is None else wanted.routing_key.encode()
        if len(key) > SHORT_STRING_MAX:
            size = f"{len(key)} octets, {SHORT_STRING_MAX} are possible"
            raise UnusableMethod(
                f"{self._at}, and its routing key for '{meant.routing_key.decode()}' would have {size}"
            )
        arguments = override(fields.arguments, wanted.arguments)
        if key != meant.routing_key:
            # With the queue's name: an empty key beside an empty name would be the name again.
            changed = evolve(meant, routing_key=key, arguments=arguments)
        else:
            changed = evolve(fields, arguments=arguments)
        return frame if changed == fields else build_binding(_channel(frame), changed)


def _meant(fields: BindingFields, last_queue: bytes) -> BindingFields | None:
    """The binding with what the client left to the broker; None where the broker does not know either.

    RabbitMQ: ``expand_queue_name_shortcut`` and ``expand_routing_key_shortcut`` of rabbit_channel.
    """
    if fields.destination or fields.index not in _OF_QUEUES:
        return fields
    if not last_queue:
        return None
    return evolve(fields, destination=last_queue, routing_key=fields.routing_key or last_queue)


def _arguments(frame: bytes) -> dict[str, Any]:
    return decode_method(frame).arguments or {}  # type: ignore[attr-defined]  # all `TOPOLOGY_METHODS` have them


def _channel(frame: bytes) -> int:
    return int.from_bytes(frame[1:3], "big")
