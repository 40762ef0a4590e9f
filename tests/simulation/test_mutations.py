"""The simulation finds mistakes: each of these, made on purpose, breaks something within some seeds.

`python -m tests.simulation.mutations` says which seeds find which; that changes with what is drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.report import simulate

#: Seeds that are tried; the rarest mistake is found by two of a thousand, almost all others within a hundred.
TRIED = 1000


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_is_found(mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(simulate(seed).failure for seed in range(TRIED))
