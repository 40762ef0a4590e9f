"""Configurations written in Jsonnet.

Lives here: `evaluate`: a process of its own for each file, its time limit, and what is said when it fails.
Must not know: what the result means.

Jsonnet is a programming language in a C++ library.  In a process of its own it may loop forever, fill the memory or
crash without taking the proxy's clients with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from trabbits.config import jsonnet_process
from trabbits.config.errors import ConfigError, Problem
from trabbits.config.origin import Origin

#: Seconds; a configuration takes a fraction of one.
TIME_LIMIT = 20.0
#: Octets of address space.
MEMORY_LIMIT = 1024 * 1024 * 1024


@frozen
class Evaluated:
    """The resulting JSON text, and the names of the variables it was made with by their values."""

    json: str
    variables: Mapping[str, str]


def evaluate(
    text: str,
    source: str,
    environment: Mapping[str, str],
    size_limit: int,
    *,
    time_limit: float = TIME_LIMIT,
    imports: bool = True,
) -> Evaluated:
    """Evaluate Jsonnet; without `imports`, it may read no files.  Raises `ConfigError` with the place that it names."""
    answer = _ask(
        {
            "text": text,
            "source": source,
            "environment": dict(environment),
            "size_limit": size_limit,
            "memory_limit": MEMORY_LIMIT,
            "path": sys.path,
            "imports": imports,
        },
        source,
        time_limit,
    )
    variables: dict[str, str] = answer["variables"]
    if "error" in answer:
        message = Origin(variables=variables).text(answer["error"])
        raise ConfigError(source, [Problem(answer["place"], f"Jsonnet: {message}")])
    return Evaluated(answer["json"], variables)


def _ask(request: dict[str, Any], source: str, time_limit: float) -> Any:
    # Isolated and without site: modules come from our own sys.path, which is part of the request.
    command = [sys.executable, "-I", "-S", os.path.abspath(jsonnet_process.__file__)]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"Jsonnet: not done within {time_limit:g} s"
    except (OSError, ValueError) as error:
        problem = f"Jsonnet: cannot be started: {error}"
    else:
        if done.returncode == 0:
            return json.loads(done.stdout)
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
            problem = f"Jsonnet: ended by {name}, as when it needs more than {MEMORY_LIMIT // 1024 // 1024} MiB"
        else:
            problem = f"Jsonnet: {done.stderr.decode(errors='replace').strip().rpartition(chr(10))[2]}"
    raise ConfigError(source, [Problem("", problem)])
