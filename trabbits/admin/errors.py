"""Refusals: what an answer that is not the wished one looks like.

Lives here: `Refused`, and the JSON of every error.  Must not know: which calls there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from trabbits.config import ConfigError, Problem


class Refused(Exception):
    """The answer is `status` with `{"error": text}`, and `problems` where a configuration is wrong."""

    def __init__(
        self,
        status: int,
        text: str,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.problems = tuple(problems)
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The answer's JSON."""
        content: dict[str, object] = {"error": self.text}
        if self.problems:
            content["problems"] = problems_json(self.problems)
        return json.dumps(content).encode() + b"\n"


def problems_json(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """What is wrong where, or what should be known."""
    return [{"path": problem.path, "message": problem.message} for problem in problems]


def wrong_config(error: ConfigError) -> Refused:
    """400 for what is not in its language at all, 422 for what cannot be used."""
    count = len(error.problems)
    text = f"{count} {'error' if count == 1 else 'errors'} in the configuration: {'; '.join(map(str, error.problems))}"
    malformed = any(problem.message.startswith("not JSON") for problem in error.problems)
    return Refused(400 if malformed else 422, text if len(text) <= 2000 else f"{text[:2000]}…", error.problems)
