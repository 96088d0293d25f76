"""Between values and what a statement takes: arrays by column, and text that PostgreSQL can hold."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

BUCKETS: Final = 1_024  #: rows of ``order_guards``

#: What PostgreSQL cannot keep in text: the zero character, and halves of characters.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[Any]]:
    """Rows as the arrays that ``unnest`` takes, one a column; ``width`` says how many where there are no rows."""
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*rows, strict=True)]


def storable(text: str) -> str:
    """Text for people to read, with a mark in the place of what cannot be stored."""
    return _UNSTORABLE.sub("\ufffd", text)


def order_bucket(endpoint_key: int, ordering_key: str) -> int:
    """Which row of ``order_guards`` stands for an ordering key of an endpoint; the same for ever, on every node."""
    key = endpoint_key.to_bytes(8, "big") + ordering_key.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") % BUCKETS
