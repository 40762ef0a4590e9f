"""What options of several built-in plugins have in common.

Lives here: validators for fields, and types that have them.  Must not know: any plugin.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from trabbits.wire.encode import SHORT_STRING_MAX
from trabbits.wire.table import check_table, encode_table


def each_once(texts: list[str]) -> list[str]:
    """`texts`; ValueError, saying what was expected, if one is there twice.

    It tells the places and not the text, which may have come from the environment.
    """
    for place, text in enumerate(texts):
        first = texts.index(text)
        if first < place:
            raise ValueError(f"a list in which each is there once (those at {first} and {place} are the same)")
    return texts


def _field_table(arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        if not all(1 <= len(name.encode()) <= 128 for name in arguments):
            raise ValueError("a name of an argument that AMQP has no room for")
        check_table(encode_table({name: value for name, value in arguments.items() if value is not None}))
    except Exception as error:  # what encoding objects to depends on the value
        what = "arguments that AMQP can carry: texts, numbers of at most 64 bits, true, false, lists and objects"
        raise PydanticCustomError("expected", "expected {what}", {"what": what}) from error
    return arguments


def _sized(pattern: str) -> str:
    if len(pattern.encode("utf-8", "surrogatepass")) > SHORT_STRING_MAX:
        what = f"at most {SHORT_STRING_MAX} octets (AMQP's limit for names of exchanges)"
        raise PydanticCustomError("expected", "expected {what}", {"what": what})
    return pattern


#: Arguments of a declare, laid over those of a client: null removes one.
FieldTable: TypeAlias = Annotated[dict[str, Any], AfterValidator(_field_table)]
#: A pattern for names of exchanges, as in `key_patterns`.
ExchangePattern: TypeAlias = Annotated[str, AfterValidator(_sized)]
