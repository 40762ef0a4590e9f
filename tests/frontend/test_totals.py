"""Numbers over all sessions: nothing is lost when sessions go, and nothing grows with what clients make up."""

from __future__ import annotations

from tests.frontend.test_listener import Listener, lose
from trabbits.frontend.totals import Sums
from trabbits.wire import constants as amqp
from trabbits.wire.encode import frame


def sums(listener: Listener) -> Sums:
    """What all sessions have counted, the live ones included."""
    total = listener.factory.totals.gone.copy()
    for runner in listener.factory.sessions.values():
        total.include(runner)
    return total


def test_numbers_stay_when_a_session_goes() -> None:
    listener = Listener()
    protocol, _ = listener.connect()
    protocol.dataReceived(amqp.PROTOCOL_HEADER)
    before = sums(listener)
    assert before.methods == {amqp.CONNECTION_START: 1}
    assert before.sent_frames == 1
    lose(protocol)
    assert not listener.factory.sessions
    assert sums(listener) == before
    assert listener.factory.totals.connections == listener.factory.totals.connection_errors == 1


def test_methods_that_clients_make_up_are_one() -> None:
    listener = Listener()
    for number in range(20):
        protocol, _ = listener.connect()
        protocol.dataReceived(amqp.PROTOCOL_HEADER)
        made_up = 0x1234_0000 + number
        protocol.dataReceived(frame(amqp.FRAME_METHOD, 0, made_up.to_bytes(4, "big")))
        lose(protocol)
    gone = listener.factory.totals.gone
    assert gone.methods[0] == 20
    assert set(gone.methods) == {0, amqp.CONNECTION_START, amqp.CONNECTION_CLOSE}
    assert gone.errored_methods == {0: 20}
