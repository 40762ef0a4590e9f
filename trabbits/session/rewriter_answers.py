"""What rewriters answer, as far as an upstream can be asked for it.

Lives here: one check for each kind of answer, and `Nonsense`.  Must not know: who answered, what it was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from trabbits.failures import dismissed, let_through
from trabbits.interfaces import BindingAttributes, ExchangeAttributes, QueueAttributes
from trabbits.wire.encode import SHORT_STRING_MAX
from trabbits.wire.table import encode_table

_T = TypeVar("_T", QueueAttributes, ExchangeAttributes, BindingAttributes)


class Nonsense(Exception):
    """An answer that is none; the text says why."""


def queue_attributes(answer: object) -> QueueAttributes:
    """The answer to `IQueueAttributeRewriter.rewrite`.  Raises `Nonsense`, as all here do."""
    return _attributes(QueueAttributes, answer, "durable", "auto_delete", "exclusive")


def exchange_attributes(answer: object) -> ExchangeAttributes:
    """The answer to `ITopologyRewriter.rewrite_exchange`."""
    attributes = _attributes(ExchangeAttributes, answer, "durable", "auto_delete", "internal")
    if attributes.type is not None:
        size = len(_text("its type", attributes.type))
        if not 0 < size <= SHORT_STRING_MAX:
            raise Nonsense(f"its type has {size} octets, 1 to {SHORT_STRING_MAX} are possible")
    return attributes


def binding_attributes(answer: object) -> BindingAttributes:
    """The answer to `ITopologyRewriter.rewrite_binding`.  The routing key may be too long for a frame."""
    attributes = _attributes(BindingAttributes, answer)
    if attributes.routing_key is not None:
        _text("its routing_key", attributes.routing_key)
    return attributes


def queue_name(answer: object) -> str:
    """The answer of an `IQueueRenamer`, if it is a text that has octets."""
    if not isinstance(answer, str):
        raise Nonsense(f"it answered with {dismissed(answer)}, not with the name of a queue")
    try:
        answer.encode()
    except UnicodeEncodeError:
        raise Nonsense("it answered with a name of a queue that is no UTF-8") from None
    return answer


def _attributes(wanted: type[_T], answer: object, *flags: str) -> _T:
    if not isinstance(answer, wanted):
        raise Nonsense(f"it answered with {dismissed(answer)}, not with {wanted.__name__}")
    for flag in flags:
        value: object = getattr(answer, flag)
        if value is not None and not isinstance(value, bool):
            raise Nonsense(f"its {flag} is {dismissed(value)}, neither true nor false nor None")
    given: object = answer.arguments
    if not isinstance(given, Mapping):
        raise Nonsense(f"its arguments are {dismissed(given)}, not a mapping")
    for name, value in given.items():
        if not isinstance(name, str):
            raise Nonsense(f"the name of one of its arguments is {dismissed(name)}, not a text")
        try:
            encode_table({name: value} if value is not None else {name: 0})
        except BaseException as error:  # of whatever the value is made
            let_through(error)
            raise Nonsense(f"its argument {name!r:.60} cannot be sent ({type(error).__name__})") from error
    return answer


def _text(what: str, value: object) -> bytes:
    """The octets of a text."""
    if not isinstance(value, str):
        raise Nonsense(f"{what} is {dismissed(value)}, not a text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Nonsense(f"{what} is no UTF-8") from None
