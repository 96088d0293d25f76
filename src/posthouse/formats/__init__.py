"""How a request to an endpoint looks when it is to look as another system's."""
