"""Sphinx configuration. `make docs` builds with -W: a warning is an error."""

from importlib.metadata import version as installed_version

project = "trabbits"
author = "the trabbits authors"
copyright = "2026, the trabbits authors"
release = installed_version("trabbits")
version = release

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_title = f"trabbits {release}"
html_theme_options = {
    "description": "An AMQP 0-9-1 proxy in front of one or many RabbitMQ brokers",
    "page_width": "1000px",
}
