"""What options of several built-in plugins have in common.

Lives here: validators for fields, and types that have them.  Must not know: any plugin.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

#: Octets of a name in AMQP (section 4.2.5.3).
SHORT_STRING_MAX: Final = 255


def each_once(texts: list[str]) -> list[str]:
    """`texts`; ValueError, saying what was expected, if one is there twice.

    It tells the places and not the text, which may have come from the environment.
    """
    for place, text in enumerate(texts):
        first = texts.index(text)
        if first < place:
            raise ValueError(f"a list in which each is there once (those at {first} and {place} are the same)")
    return texts


def _sized(pattern: str) -> str:
    if len(pattern.encode("utf-8", "surrogatepass")) > SHORT_STRING_MAX:
        what = f"at most {SHORT_STRING_MAX} octets (AMQP's limit for names of exchanges)"
        raise PydanticCustomError("expected", "expected {what}", {"what": what})
    return pattern


#: A pattern for names of exchanges, as in `key_patterns`.
ExchangePattern: TypeAlias = Annotated[str, AfterValidator(_sized)]
