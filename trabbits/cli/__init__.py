"""What operators type: the ``trabbits`` command, and ``twistd trabbits``."""
