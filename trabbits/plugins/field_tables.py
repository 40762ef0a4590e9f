"""AMQP field tables (section 4.2.5.5) for plugins: as an option, and as octets that a client sent.

Lives here: `FieldTable` and `decoded`.  Part of the public contract, with ``trabbits.interfaces``.
Must not know: any plugin.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from trabbits.wire.errors import Violation
from trabbits.wire.table import check_table, decode_table, encode_table


def _carried(arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        if not all(1 <= len(name.encode()) <= 128 for name in arguments):
            raise ValueError("a name of an argument that AMQP has no room for")
        check_table(encode_table({name: value for name, value in arguments.items() if value is not None}))
    except Exception as error:  # what encoding objects to depends on the value
        what = "arguments that AMQP can carry: texts, numbers of at most 64 bits, true, false, lists and objects"
        raise PydanticCustomError("expected", "expected {what}", {"what": what}) from error
    return arguments


#: A field of options that holds arguments which AMQP can carry; None removes one (`QueueAttributes`).
FieldTable = Annotated[dict[str, Any], AfterValidator(_carried)]


def decoded(octets: bytes) -> dict[str, Any]:
    """The entries of a field table, without its length, as Python values.  Raises ValueError if it is none."""
    try:
        return decode_table(octets)
    except Violation as error:
        raise ValueError(str(error)) from None
