"""Tools for trying and testing: real RabbitMQ nodes and their HTTP API, and an embedded broker.

Needs neither Twisted nor pytest, but for ``broker/server.py``, which puts the embedded broker on a port.
"""
