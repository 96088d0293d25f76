"""The headers of a request, kept as the one text in which they came: whoever wants one reads it then.

A *head* is lines of a name, a colon, a value and CR LF (RFC 9112), in Latin-1: a character for each byte.
"""

from collections.abc import Iterable
from typing import Final

_END: Final = "\r\n"
_BLANK: Final = " \t"
_BLANKS: Final = str.maketrans("\r\n\0", "   ")


def head_of(headers: Iterable[tuple[str, str]]) -> str:
    """The head of these headers.

    What no header has that came by HTTP is replaced: the end of a line by a blank, what is not Latin-1 by ``?``.
    """
    head = "".join([f"{name.translate(_BLANKS)}: {value.translate(_BLANKS)}\r\n" for name, value in headers])
    return head if head.isascii() else head.encode("latin-1", "replace").decode("latin-1")


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines of these headers as they stand on the wire."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def headers_of(head: str) -> tuple[tuple[str, str], ...]:
    """All headers in their order; names in lower case, values without the blanks around them."""
    parts = [line.partition(":") for line in head.split(_END) if line]
    return tuple((name.lower(), value.strip(_BLANK)) for name, _, value in parts)


def values_of(head: str, name: str) -> list[str]:
    """All values of a header, in their order; ``name`` in any case."""
    lines, wanted = "\n" + head.lower(), f"\n{name.lower()}:"  # in Latin-1 each place stays where it is
    values = []
    at = lines.find(wanted)
    while at >= 0:
        start = at + len(wanted) - 1
        values.append(head[start : head.index("\r", start)].strip(_BLANK))
        at = lines.find(wanted, start)
    return values
