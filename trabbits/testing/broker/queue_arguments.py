"""The arguments of queue.declare: which are sound, what they mean, when two declarations are the same.

Lives here: `QueueSettings`, and checking arguments.  Must not know: queues, what becomes of the settings.

Source: https://www.rabbitmq.com/docs/queues (optional arguments) and the pages it names; the errors are those of
RabbitMQ 3.10 (``rabbit_amqqueue:declare_args/0``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Final

from attrs import frozen

from trabbits.testing.broker.errors import failed
from trabbits.testing.broker.tables import INTEGERS, Table, Value

#: The longest time to live that RabbitMQ takes, in milliseconds: ten years.
EXPIRY_MAX: Final = 315_360_000_000


@frozen(kw_only=True)
class QueueSettings:
    """What a queue was asked to do.  Times in seconds, sizes in octets of bodies; None where nothing was asked."""

    message_ttl: float | None = None
    expires: float | None = None
    max_length: int | None = None
    max_octets: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    single_active: bool = False
    quorum: bool = False


def read_settings(arguments: Table) -> QueueSettings:
    """The settings in arguments that were checked."""

    def given(name: str) -> Any:
        value = arguments.get(name)
        return None if value is None else value.value

    def seconds(name: str) -> float | None:
        value = given(name)
        return None if value is None else value / 1000

    return QueueSettings(
        message_ttl=seconds("x-message-ttl"),
        expires=seconds("x-expires"),
        max_length=given("x-max-length"),
        max_octets=given("x-max-length-bytes"),
        overflow=given("x-overflow") or "drop-head",
        dead_letter_exchange=given("x-dead-letter-exchange"),
        dead_letter_key=given("x-dead-letter-routing-key"),
        single_active=bool(given("x-single-active-consumer")),
        quorum=given("x-queue-type") == "quorum",
    )


def check_arguments(queue: str, arguments: Table) -> None:
    """Raise `Refused` 406 for the first argument that makes no sense; `queue` is how texts call it."""
    for name, check in CHECKS.items():
        value = arguments.get(name)
        if value is not None:
            why = check(value, arguments)
            if why is not None:
                raise failed(f"invalid arg '{name}' for {queue}: {why}")


def check_equivalence(queue: str, current: Table, received: Table, names: Collection[str]) -> None:
    """Raise `Refused` 406 for the first of the arguments `names` that a queue or exchange was not made with."""
    for name in names:
        old, new = current.get(name), received.get(name)
        if old == new or (old is not None and new is not None and old.matches(new)):
            continue
        if name == "x-queue-type" and (old or new) == Value("longstr", "classic") and None in {old, new}:
            continue
        if old is not None and new is not None:
            raise inequivalent(queue, name, old.value, new.value)
        raise failed(f"inequivalent arg '{name}' for {queue}: received {new or 'none'} but current is {old or 'none'}")


def check_field(queue: str, name: str, current: object, received: object) -> None:
    """Raise `Refused` 406 unless both are the same."""
    if current != received:
        raise inequivalent(queue, name, current, received)


def inequivalent(queue: str, name: str, current: object, received: object) -> Exception:
    """The refusal of a redeclaration that differs in `name`."""
    texts = [str(value).lower() if isinstance(value, bool) else value for value in (received, current)]
    return failed(f"inequivalent arg '{name}' for {queue}: received '{texts[0]}' but current is '{texts[1]}'")


Check = Callable[[Value, Table], "str | None"]


def _unacceptable(value: Value) -> str:
    return f"{{unacceptable_type,{value.kind}}}"


def _integer(value: Value, arguments: Table) -> str | None:
    return None if value.kind in INTEGERS else f'"expected integer, got {value.kind}"'


def _count(value: Value, arguments: Table) -> str | None:
    why = _integer(value, arguments)
    return why or (None if value.value >= 0 else f"{{value_negative,{value.value}}}")


def _positive(value: Value, arguments: Table) -> str | None:
    why = _count(value, arguments)
    return why or (None if value.value else "{value_zero,0}")


def _expiry(value: Value, arguments: Table) -> str | None:
    why = _count(value, arguments)
    return why or (None if value.value <= EXPIRY_MAX else f"{{value_too_large,{value.value}}}")


def _expires(value: Value, arguments: Table) -> str | None:
    return _integer(value, arguments) or ("{value_zero,0}" if value.value == 0 else _expiry(value, arguments))


def _priority(value: Value, arguments: Table) -> str | None:
    why = _count(value, arguments)
    return why or (None if value.value <= 255 else f"{{max_value_exceeded,{value.value}}}")


def _flag(value: Value, arguments: Table) -> str | None:
    return None if value.kind == "bool" else _unacceptable(value)


def _text(value: Value, arguments: Table) -> str | None:
    return None if value.kind == "longstr" else _unacceptable(value)


def _dead_letter_key(value: Value, arguments: Table) -> str | None:
    if "x-dead-letter-exchange" not in arguments:
        return "routing_key_but_no_dlx_defined"
    return _text(value, arguments)


def _one_of(values: Collection[str], otherwise: str) -> Check:
    def check(value: Value, arguments: Table) -> str | None:
        if value.kind != "longstr":
            return _unacceptable(value)
        return None if value.value in values else otherwise.format(value.value)

    return check


def _version(value: Value, arguments: Table) -> str | None:
    why = _count(value, arguments)
    return why or (None if value.value in {1, 2} else f"\"unsupported queue version '{value.value}'\"")


def _age(value: Value, arguments: Table) -> str | None:
    if value.kind != "longstr":
        return _unacceptable(value)
    return None if re.fullmatch(r"0*[1-9][0-9]*[YMDhms]", value.value) else "invalid_max_age"


#: In RabbitMQ's order, which decides what is complained about first.
CHECKS: Final[dict[str, Check]] = {
    "x-expires": _expires,
    "x-message-ttl": _expiry,
    "x-dead-letter-exchange": _text,
    "x-dead-letter-routing-key": _dead_letter_key,
    "x-dead-letter-strategy": _one_of({"at-most-once", "at-least-once"}, "invalid_dlx_strategy"),
    "x-max-length": _count,
    "x-max-length-bytes": _count,
    "x-max-in-memory-length": _count,
    "x-max-in-memory-bytes": _count,
    "x-max-priority": _priority,
    "x-overflow": _one_of({"drop-head", "reject-publish", "reject-publish-dlx"}, "invalid_overflow"),
    "x-queue-mode": _one_of({"default", "lazy"}, "\"unsupported queue mode '{}'\""),
    "x-queue-version": _version,
    "x-single-active-consumer": _flag,
    "x-queue-type": _one_of({"classic", "quorum", "stream"}, "\"unsupported queue type '{}'\""),
    "x-quorum-initial-group-size": _positive,
    "x-max-age": _age,
    "x-stream-max-segment-size-bytes": _count,
    "x-initial-cluster-size": _positive,
    "x-queue-leader-locator": _one_of({"client-local", "random", "least-leaders"}, "invalid_queue_locator_arg"),
}
