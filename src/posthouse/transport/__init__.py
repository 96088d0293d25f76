"""The outbound rim: sends one request and names what came of it."""
