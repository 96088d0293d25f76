"""Where events, obligations and history are kept: one protocol, one folder for each engine."""
