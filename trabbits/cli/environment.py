"""Environment variables, where click or Twisted do not read them for us.

Lives here: reading `os.environ`.  Must not know: what a variable is for.
"""

from __future__ import annotations

import os


def is_true(name: str) -> bool:
    """Whether a variable is set to something that means yes.

    DEBUG is everybody's variable: any value but the usual words for no counts as yes, and none is an error.
    """
    return os.environ.get(name, "").strip().lower() not in {"", "0", "false", "no", "off", "n", "f"}
