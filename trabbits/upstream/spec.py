"""The AMQP 0-9-1 specification as txamqp wants it, made from pamqp's catalogue of commands.

Lives here: `amqp_spec`.  txamqp ships no specification file and loads only XML; pamqp knows every class and method,
RabbitMQ's extensions included (connection.blocked, connection.update-secret, exchange.bind, basic.nack, confirm).
Must not know: octets (``codec.py``) and connections.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from pamqp import commands
from txamqp.spec import Class, Constant, Field, Method, Spec

from trabbits.wire import constants

#: Methods that are followed by a content header and body (section 2.3.5.2).  The only thing pamqp does not tell.
METHODS_WITH_CONTENT = frozenset({"Basic.Publish", "Basic.Return", "Basic.Deliver", "Basic.GetOk"})

_CONSTANTS = {
    "frame-method": constants.FRAME_METHOD,
    "frame-header": constants.FRAME_HEADER,
    "frame-body": constants.FRAME_BODY,
    "frame-heartbeat": constants.FRAME_HEARTBEAT,
    "frame-end": constants.FRAME_END,
}


@functools.cache
def amqp_spec() -> Any:
    """The `txamqp.spec.Spec` of AMQP 0-9-1 with RabbitMQ's extensions; made once per process."""
    spec = Spec(0, 9, "pamqp.commands")
    for name, value in _CONSTANTS.items():
        spec.constants.add(Constant(spec, name, value, None, []))
    methods: dict[str, Any] = {}
    # pamqp types the catalogue's values as bare "type".
    catalogue: dict[int, Any] = dict(sorted(commands.INDEX_MAPPING.items()))
    for index, command in catalogue.items():
        class_name, _, method_name = command.name.partition(".")
        klass = spec.classes.byname.get(_spelled(class_name)) or _add_class(spec, class_name, index >> 16)
        method = Method(
            klass,
            _spelled(method_name),
            index & 0xFFFF,
            command.name in METHODS_WITH_CONTENT,
            [],
            command.synchronous,
            "",
            [],
        )
        _add_fields(method, command)
        klass.methods.add(method)
        methods[command.name] = method
    for command in catalogue.values():
        if command.synchronous:
            for answer in command.valid_responses:
                methods[command.name].responses.append(methods[answer])
                methods[answer].response = True
    spec.post_load()
    return spec


def _add_class(spec: Any, name: str, class_id: int) -> Any:
    klass = Class(spec, _spelled(name), class_id, "connection" if name == "Connection" else "channel", [])
    if name == "Basic":
        _add_fields(klass, commands.Basic.Properties)
    spec.classes.add(klass)
    return klass


def _add_fields(owner: Any, command: Any) -> None:
    for position, attribute in enumerate(command.attributes()):
        # pamqp avoids Python's keyword with "global_"; txamqp adds that underscore itself.
        owner.fields.add(Field(attribute.rstrip("_"), position, command.amqp_type(attribute), []))


def _spelled(name: str) -> str:
    """``StartOk`` as the specification spells it: ``start-ok``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
