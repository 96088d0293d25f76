"""Noticing that the other end of a connection is gone, whoever waits for what."""

import socket
from typing import Any, Final

import asyncpg

UNANSWERED_MS: Final = 10_000  #: a connection whose packets nobody confirms for so long is gone
KEEPALIVE_S: Final = 5


def watch_socket(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Notice a peer that vanished without a word, also while nothing is sent."""
    transport: Any = getattr(connection, "_transport", None)
    plain = transport.get_extra_info("socket") if transport is not None else None
    if plain is None or plain.family == socket.AF_UNIX:
        return
    with socket.socket(fileno=socket.dup(plain.fileno())) as wire:  # the loop's own has no options
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_S),
            ("TCP_KEEPCNT", 2),
            ("TCP_USER_TIMEOUT", UNANSWERED_MS),
        ):
            if hasattr(socket, name):  # not every system has each of them
                wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
