"""Waiting for what a server does in its own time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

LOOK_S: Final = 0.005


async def until(true: Callable[[], bool | Awaitable[Any]], *, within_s: float = 5.0) -> None:
    """Look until something is so. Raises TimeoutError if it does not become so."""
    async with asyncio.timeout(within_s):
        while True:
            found = true()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(LOOK_S)
