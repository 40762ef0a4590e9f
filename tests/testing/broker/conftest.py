"""No deadlines for single examples: a busy machine is no bug."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("trabbits", deadline=None)
settings.load_profile("trabbits")
