"""What may be told of somebody else's code that failed.

Lives here: `where_it_failed`.  Must not know: who failed at what.
"""

from __future__ import annotations

import traceback
from pathlib import Path


def where_it_failed(error: BaseException) -> str:
    """An unexpected exception of somebody else's code: not its text, which may hold anything, secrets included."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
