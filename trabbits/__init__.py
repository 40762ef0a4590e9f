"""trabbits: an AMQP 0-9-1 proxy in front of one or many RabbitMQ brokers, extended by plugins."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("trabbits")
except PackageNotFoundError:  # run from a source tree that nobody installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
