"""One contract, three targets: a broker, a plain session, a fan session.  See `tests.contract.target`."""
