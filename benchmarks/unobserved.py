#!/usr/bin/env python3
"""trabbits without the account that sessions keep of their methods: what `make bench` compares the real one with.

What lives here: a start of trabbits whose scanner marks no methods, so that sessions keep none. The lines are taken
out of the scanner's source before it is compiled: a call that does nothing would cost as much as what is measured.
Only for measuring: counts, metrics and the probe of such a process stay empty.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MODULE = "trabbits.wire.scanner"
#: What is taken out, and how often it is there.
MARK = """
                        mark(pos)
                        kind_is(index)
                        if patching:
                            goes_to(destination)
"""
MARKS = 2


def forget_to_mark() -> None:
    """Import the scanner without its marks; AssertionError when its source is not what this file knows."""
    spec = importlib.util.find_spec(MODULE)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    assert source.count(MARK) == MARKS, f"{MODULE} has changed: adapt {__file__}"
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    exec(compile(source.replace(MARK, "\n"), spec.origin, "exec"), module.__dict__)


if __name__ == "__main__":
    forget_to_mark()
    from trabbits.cli.main import main

    main()
