"""The admin API: what operators see and steer over HTTP."""
