"""One contract, several targets: both brokers, and sessions in front of them.  See `tests.contract.target`."""
