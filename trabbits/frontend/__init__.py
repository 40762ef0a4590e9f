"""The client's side on Twisted: listening, the client's protocol, and the runner that carries out what sessions ask."""
