"""What commands read: an argument, ``@FILE`` or ``-`` for stdin."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure


def usage(message: str) -> Failure:
    """The failure of a command line that makes no sense."""
    return Failure(Exit.USAGE, "usage", message)


@contextmanager
def open_source(name: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """The stream that ``FILE`` or ``-`` names, and its size in bytes if that is known."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(name)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror}.") from error
    with stream:
        yield stream, path.stat().st_size or None


def read_argument(text: str) -> bytes:
    """What ``text`` stands for: the content of a file (``@FILE``) or of stdin (``-``), or itself."""
    if text == "-" or text.startswith("@"):
        with open_source(text.removeprefix("@")) as (stream, _):
            return stream.read()
    return text.encode()


def raw_json(content: bytes) -> msgspec.Raw:
    """``content`` untouched, once it is known to be one JSON value."""
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise usage(f"The data is not valid JSON: {error}.") from error
    return msgspec.Raw(content)
