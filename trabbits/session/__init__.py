"""The session: one client connection together with its links, as octets and events in, octets and actions out.

Nothing in this package imports Twisted, opens a socket or reads a clock, so every rule about AMQP in it is
tested without a network.

    session.py     the events that reach a session, its life from the first octet to the last
    handshake.py   the server's side of the connection negotiation
    ending.py      the end in all its forms: close, violations, failures, somebody gone
    link.py        one upstream connection as the session sees it
    plain.py       what a session with one link does with each method
    fan.py         what a session with several links does with each method
    actions.py     what a session asks its surroundings to do
"""
