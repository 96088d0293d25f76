"""Hints between processes that share an embedded store: datagrams to the socket of each of the others."""

import asyncio
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from posthouse.store.shared.hinting import Hinting

FOLDER: Final = "hints"  #: in the data directory
SUFFIX: Final = ".sock"
_RECEIVED_BYTES_MAX: Final = 65_536


class Datagrams(Hinting):
    """Tells and hears through sockets in a folder of the data directory.

    Their paths go by way of the folder's descriptor, since an address has room for about a hundred characters only.

    Raises:
        OSError: The machine has no such sockets, or no such paths.
    """

    def __init__(self, directory: Path) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        super().__init__(name, self._send_to_all)
        folder = directory / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self._own = name + SUFFIX
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._there = Path(f"/proc/self/fd/{self._folder}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(0)
            self._socket.bind(str(self._there / self._own))
        except OSError:
            self._let_go()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Hear nothing more. Idempotent."""
        if self._socket.fileno() < 0:
            return
        self.stop()
        self._loop.remove_reader(self._socket)
        (self._there / self._own).unlink(missing_ok=True)
        self._let_go()

    def _send_to_all(self, message: bytes) -> None:
        for address in self._there.iterdir():
            if address.name == self._own or address.suffix != SUFFIX:
                continue
            try:
                self._socket.sendto(message, str(address))
            except ConnectionRefusedError:  # whoever had it died
                address.unlink(missing_ok=True)
            except OSError:  # it is full, or gone: a hint may be lost
                continue

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self.hear(self._socket.recv(_RECEIVED_BYTES_MAX))

    def _let_go(self) -> None:
        self._socket.close()
        os.close(self._folder)
