"""What options of several built-in plugins have in common.

Lives here: validators for fields.  Must not know: any plugin.
"""

from __future__ import annotations


def each_once(texts: list[str]) -> list[str]:
    """`texts`; ValueError, saying what was expected, if one is there twice.

    It tells the places and not the text, which may have come from the environment.
    """
    for place, text in enumerate(texts):
        first = texts.index(text)
        if first < place:
            raise ValueError(f"a list in which each is there once (those at {first} and {place} are the same)")
    return texts
