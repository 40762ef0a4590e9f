"""Refusals that plugins answer with.

Lives here: `is_refusal`.  Must not know: who refuses what.
"""

from __future__ import annotations

from typing import TypeGuard

from trabbits.interfaces import Refusal


def is_refusal(answer: object) -> TypeGuard[Refusal]:
    """Whether it can be sent: others may have made it."""
    if not isinstance(answer, Refusal):
        return False
    code: object = answer.code
    text: object = answer.text
    return isinstance(code, int) and 0 < code < 1 << 16 and isinstance(text, str)
