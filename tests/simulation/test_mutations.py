"""The simulation finds mistakes: each of these, made on purpose, breaks something within some seeds.

`python -m tests.simulation.mutations` says which seeds find which.  Where to look for the rare ones is noted in
`FOUND_FROM`, and changes with what the simulation draws from a seed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.mutations import FOUND_FROM, MUTATIONS
from tests.simulation.report import simulate

#: Seeds that are tried, from where one is known to find it or to be near.
TRIED = 100


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_is_found(mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    first = FOUND_FROM.get(mutation.__name__, 0)
    assert any(simulate(seed).failure for seed in range(first, first + TRIED))
