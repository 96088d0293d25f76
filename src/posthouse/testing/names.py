"""A name server in the hands of a test."""

import asyncio
from collections.abc import Sequence


class Names:
    """Implements :class:`posthouse.transport.resolver.Resolve`; what it answers may change at any time.

    Attributes:
        addresses: what each name has; a name that is missing has none.
        asked: every name that was asked for, in order.
        error: raised in place of an answer, if set.
        answers: while it is not set, look-ups hang.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, Sequence[str]] = {}
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of ``host``."""
        self.asked.append(host)
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return self.addresses.get(host, ())
