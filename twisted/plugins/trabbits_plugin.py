"""Makes ``twistd trabbits`` known to twistd.  Nothing is imported before it is used."""

from twisted.application.service import ServiceMaker

trabbits = ServiceMaker("trabbits", "trabbits.cli.twistd", "An AMQP proxy in front of RabbitMQ brokers", "trabbits")
