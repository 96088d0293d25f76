"""The receivers' process of a demonstration, which ends with its owner."""

import contextlib
import subprocess
from collections.abc import Sequence
from typing import IO, TypeVar

import msgspec

from posthouse.demo.board import Tally
from posthouse.demo.node_process import PYTHON
from posthouse.demo.receivers import Command, ReceiverSpec

T = TypeVar("T")


class DemoFailed(Exception):
    """The demonstration cannot go on. The message says why."""


class Receivers:
    """The receivers' process."""

    def __init__(self, specs: Sequence[ReceiverSpec], seed: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            [*PYTHON, "posthouse.demo.receivers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            ports = self._ask(Command("open", list(specs), seed), dict[str, int])
        except BaseException:
            self.stop()
            raise
        #: Receiver → the URL to deliver to.
        self.urls = {name: f"http://127.0.0.1:{port}/hook" for name, port in ports.items()}

    def recover(self) -> None:
        """Let the hanging one answer again."""
        self._ask(Command("recover"), type(None))

    def killed(self) -> None:
        """Tell them that whatever comes from now on is sent by another process of the node."""
        self._ask(Command("killed"), type(None))

    def tallies(self) -> dict[str, Tally]:
        """Receiver → its counts."""
        return self._ask(Command("tallies"), dict[str, Tally])

    def ledgers(self) -> dict[str, dict[str, str]]:
        """Receiver → event id → hash of its data."""
        return self._ask(Command("ledgers"), dict[str, dict[str, str]])

    def stop(self) -> None:
        """End the process. Idempotent."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, command: Command, kind: type[T]) -> T:
        to, fro = self._pipes()
        try:
            to.write(msgspec.json.encode(command) + b"\n")
            to.flush()
            return msgspec.json.decode(fro.readline(), type=kind)
        except (OSError, msgspec.DecodeError) as error:
            raise DemoFailed("The receivers' process is gone.") from error

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout
