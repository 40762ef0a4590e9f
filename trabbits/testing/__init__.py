"""Tools for trying and testing: real RabbitMQ nodes and their HTTP API. Needs neither Twisted nor pytest."""
