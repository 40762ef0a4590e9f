"""The full-screen console: a client of the admin API in a terminal."""
