"""Tools for trying and testing: real RabbitMQ nodes and their HTTP API, and an embedded broker.

Twisted is needed by ``broker/server.py``, which puts the embedded broker on a port, and by ``running``, ``trial`` and
``contracts``; pytest by ``pytest_plugin``; the rest needs neither.
"""
