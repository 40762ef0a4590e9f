"""The method table: what each method is called, carries, expects and who may send it.

Lives here: `METHODS`, built over pamqp's command catalogue plus the methods RabbitMQ knows and pamqp lacks.
Must not know: octets of a particular frame, connections, what is done about a method.

Source: AMQP 0-9-1 XML specification (chassis, content and response elements) and RabbitMQ's extensions; the
set is that of RabbitMQ's ``rabbit_framing_amqp_0_9_1:lookup_method_name/1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from attrs import frozen
from pamqp import base, commands

from trabbits.wire import constants as c


class AccessRequest(base.Frame):
    """access.request: from AMQP 0-8, RabbitMQ still answers it with a ticket that means nothing."""

    __slots__: ClassVar[list[str]] = ["realm", "exclusive", "passive", "active", "write", "read"]  # noqa: RUF023 - order on the wire
    frame_id: ClassVar[int] = 10
    index: ClassVar[int] = 0x001E000A
    name: ClassVar[str] = "Access.Request"
    synchronous: ClassVar[bool] = True
    valid_responses: ClassVar[list[str]] = ["Access.RequestOk"]
    _realm = "shortstr"
    _exclusive = _passive = _active = _write = _read = "bit"


class AccessRequestOk(base.Frame):
    """access.request-ok"""

    __slots__: ClassVar[list[str]] = ["ticket"]
    frame_id: ClassVar[int] = 11
    index: ClassVar[int] = 0x001E000B
    name: ClassVar[str] = "Access.RequestOk"
    _ticket = "short"


class BasicCredit(base.Frame):
    """basic.credit: link credit for a consumer, an extension of RabbitMQ 3."""

    __slots__: ClassVar[list[str]] = ["consumer_tag", "credit", "drain"]
    frame_id: ClassVar[int] = 200
    index: ClassVar[int] = 0x003C00C8
    name: ClassVar[str] = "Basic.Credit"
    synchronous: ClassVar[bool] = True
    valid_responses: ClassVar[list[str]] = ["Basic.CreditOk"]
    _consumer_tag = "shortstr"
    _credit = "long"
    _drain = "bit"


class BasicCreditOk(base.Frame):
    """basic.credit-ok"""

    __slots__: ClassVar[list[str]] = ["available"]
    frame_id: ClassVar[int] = 201
    index: ClassVar[int] = 0x003C00C9
    name: ClassVar[str] = "Basic.CreditOk"
    _available = "long"


class BasicCreditDrained(base.Frame):
    """basic.credit-drained: sent by the server when a drained consumer got nothing more."""

    __slots__: ClassVar[list[str]] = ["consumer_tag", "credit_drained"]
    frame_id: ClassVar[int] = 202
    index: ClassVar[int] = 0x003C00CA
    name: ClassVar[str] = "Basic.CreditDrained"
    _consumer_tag = "shortstr"
    _credit_drained = "long"


@frozen
class MethodInfo:
    """What is known of one method.

    `fields` are (pamqp's attribute name, AMQP type) in wire order.  `replies` are the indices that answer it;
    basic.get has two.  `nowait_bit` is the position of the nowait bit in the method's octet of bits, or None;
    before that octet stand `fixed_before_bits` octets of numbers and then `strings_before_bits` short strings
    (for the methods with a nowait bit this is the whole layout).
    """

    index: int
    name: str
    frame_class: type[base.Frame]
    fields: tuple[tuple[str, str], ...]
    has_content: bool
    synchronous: bool
    replies: tuple[int, ...]
    from_client: bool
    from_server: bool
    nowait_bit: int | None
    fixed_before_bits: int
    strings_before_bits: int

    @property
    def class_id(self) -> int:
        return self.index >> 16

    @property
    def method_id(self) -> int:
        return self.index & 0xFFFF

    @property
    def reply(self) -> int | None:
        """The index of the (first) reply: queue.declare gives queue.declare-ok; None without a reply."""
        return self.replies[0] if self.replies else None

    @property
    def is_empty(self) -> bool:
        """Whether the method has no arguments, so that its frame is always the same 12 octets but the channel."""
        return not self.fields


CONTENT_METHODS: Final[frozenset[int]] = frozenset({c.BASIC_PUBLISH, c.BASIC_RETURN, c.BASIC_DELIVER, c.BASIC_GET_OK})

#: Methods that both peers may send.  basic.cancel and its reply: RabbitMQ's consumer_cancel_notify; basic.ack
#: and basic.nack from the server: publisher confirms.
_BOTH: Final[frozenset[int]] = frozenset(
    {
        c.CONNECTION_CLOSE,
        c.CONNECTION_CLOSE_OK,
        c.CHANNEL_FLOW,
        c.CHANNEL_FLOW_OK,
        c.CHANNEL_CLOSE,
        c.CHANNEL_CLOSE_OK,
        c.BASIC_CANCEL,
        c.BASIC_CANCEL_OK,
        c.BASIC_ACK,
        c.BASIC_NACK,
    }
)
#: Methods whose name says nothing about the sender, or the wrong thing: here it is the server that asks.
_SERVER_ASKS: Final[frozenset[int]] = frozenset(
    {
        c.CONNECTION_START,
        c.CONNECTION_SECURE,
        c.CONNECTION_TUNE,
        c.CONNECTION_BLOCKED,
        c.CONNECTION_UNBLOCKED,
        c.BASIC_RETURN,
        c.BASIC_DELIVER,
        c.BASIC_GET_EMPTY,
        BasicCreditDrained.index,
    }
)
_CLIENT_ANSWERS: Final[frozenset[int]] = frozenset(
    {c.CONNECTION_START_OK, c.CONNECTION_SECURE_OK, c.CONNECTION_TUNE_OK}
)

_INTEGER_SIZES: Final[dict[str, int]] = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}


def _specification_name(pamqp_name: str) -> str:
    """``Queue.DeclareOk`` -> ``queue.declare-ok``."""
    class_name, method_name = pamqp_name.split(".")
    return f"{class_name.lower()}.{re.sub(r'(?<=[a-z])(?=[A-Z])', '-', method_name).lower()}"


def _senders(index: int, name: str) -> tuple[bool, bool]:
    """Whether a client and whether a server may send the method."""
    if index in _BOTH:
        return True, True
    from_server = index in _SERVER_ASKS or (name.endswith("-ok") and index not in _CLIENT_ANSWERS)
    return not from_server, from_server


def _before_bits(fields: tuple[tuple[str, str], ...]) -> tuple[int, int]:
    """Octets of numbers and count of short strings in front of the first bit."""
    kinds = [kind for _, kind in fields]
    before = kinds[: kinds.index("bit")] if "bit" in kinds else []
    return sum(_INTEGER_SIZES.get(kind, 0) for kind in before), before.count("shortstr")


def _build() -> Iterator[MethodInfo]:
    ours = (AccessRequest, AccessRequestOk, BasicCredit, BasicCreditOk, BasicCreditDrained)
    classes: dict[int, type[base.Frame]] = {**commands.INDEX_MAPPING, **{each.index: each for each in ours}}
    indices = {frame_class.name: index for index, frame_class in classes.items()}
    for index, frame_class in sorted(classes.items()):
        name = _specification_name(frame_class.name)
        fields = tuple((attribute, frame_class.amqp_type(attribute)) for attribute in frame_class.__slots__)
        bits = [attribute for attribute, kind in fields if kind == "bit"]
        from_client, from_server = _senders(index, name)
        fixed, strings = _before_bits(fields)
        yield MethodInfo(
            index=index,
            name=name,
            frame_class=frame_class,
            fields=fields,
            has_content=index in CONTENT_METHODS,
            synchronous=frame_class.synchronous,
            replies=tuple(indices[reply] for reply in frame_class.valid_responses) if frame_class.synchronous else (),
            from_client=from_client,
            from_server=from_server,
            nowait_bit=bits.index("nowait") if "nowait" in bits else None,
            fixed_before_bits=fixed,
            strings_before_bits=strings,
        )


METHODS: Final[dict[int, MethodInfo]] = {info.index: info for info in _build()}
CLIENT_METHODS: Final[frozenset[int]] = frozenset(index for index, info in METHODS.items() if info.from_client)
SERVER_METHODS: Final[frozenset[int]] = frozenset(index for index, info in METHODS.items() if info.from_server)


def name_of(index: int) -> str:
    """The specification's name, ``basic.publish``; ``class 10 method 99`` for an unknown index."""
    info = METHODS.get(index)
    return info.name if info is not None else f"class {index >> 16} method {index & 0xFFFF}"
