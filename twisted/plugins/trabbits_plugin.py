"""Makes ``twistd trabbits`` known to twistd.  Nothing is imported before it is used."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

trabbits = ServiceMaker("trabbits", "trabbits.cli.twistd", "An AMQP proxy in front of RabbitMQ brokers", "trabbits")
reactor = Reactor("trabbits", "trabbits.reactor", "epoll for a proxy's many small events (Linux)")
