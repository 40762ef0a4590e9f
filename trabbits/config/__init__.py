"""The configuration: reading it, checking it, and saying what is wrong with it."""

from __future__ import annotations

from trabbits.config.errors import ConfigError, Problem
from trabbits.config.fingerprint import config_hash
from trabbits.config.loading import Loaded, load_config, parse_config, validate_config
from trabbits.config.model import Config, default_config, masked

__all__ = [
    "Config",
    "ConfigError",
    "Loaded",
    "Problem",
    "config_hash",
    "default_config",
    "load_config",
    "masked",
    "parse_config",
    "validate_config",
]
