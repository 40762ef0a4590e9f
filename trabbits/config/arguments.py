"""AMQP field tables in a configuration: JSON values that a broker can be sent as arguments.

Lives here: the check, and the annotated type for pydantic.  Must not know: which arguments mean what.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails

from trabbits.config.errors import expected

_DEPTH_LIMIT = 8


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise expected("an object")
    problems: list[InitErrorDetails] = []
    for key, item in value.items():
        _check_key(key, (key,), problems)
        _check_field(item, (key,), problems)
    if problems:
        raise ValidationError.from_exception_data("arguments", problems)
    return value


def _check_field(value: Any, location: tuple[str | int, ...], problems: list[InitErrorDetails]) -> None:
    """Whether `value` can stand in an AMQP field table (section 4.2.5.5), to be called for each part of it."""
    if len(location) > _DEPTH_LIMIT:
        _add(problems, f"at most {_DEPTH_LIMIT} levels of lists and objects", location, value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_key(key, (*location, key), problems)
            _check_field(item, (*location, key), problems)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_field(item, (*location, index), problems)
    elif isinstance(value, str):
        if not _encodes(value):
            _add(problems, "a string of valid Unicode", location, value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            _add(problems, "a whole number of at most 64 bits", location, value)
    elif not (isinstance(value, float) and math.isfinite(value)):
        _add(problems, "a string, number, true, false, null, list or object", location, value)


def _check_key(key: Any, location: tuple[str | int, ...], problems: list[InitErrorDetails]) -> None:
    if not isinstance(key, str) or not _encodes(key) or not 1 <= len(key.encode()) <= 128:
        _add(problems, "a name of 1 to 128 octets", location, key)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add(problems: list[InitErrorDetails], what: str, location: tuple[str | int, ...], value: Any) -> None:
    problems.append({"type": expected(what), "loc": location, "input": value})


#: A field table.  Strings become AMQP's long strings, whole numbers integers, other numbers floats, null is void.
FieldTable = Annotated[dict[str, Any], PlainValidator(_table), WithJsonSchema({"type": "object"})]
