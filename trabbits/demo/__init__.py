"""``trabbits demo``: two embedded brokers, the proxy in front of them, and applications that talk through it.

Nothing else of trabbits needs it but the command; everything in it goes the way that users' programs go.
"""
